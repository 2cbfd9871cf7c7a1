/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel/wait-seed.c: waiting for a class that was written from the seed alone.
 *
 * Owns: one GMainContext per thread that ever needed it, in which only the watched channel's
 * source runs.
 * Rule: g_main_context_new() ends the process when descriptors have run out, so it is only
 * called after a descriptor could be had.  Signals are hidden by GLib's poll.
 */
#include "channel/wait-seed.h"

static pthread_key_t context_key;
static pthread_once_t context_once = PTHREAD_ONCE_INIT;

static void context_free(void *context)
{
    g_main_context_unref(context);
}

static void context_key_make(void)
{
    pthread_key_create(&context_key, context_free);
}

static GMainContext *thread_context(Error **errp)
{
    GMainContext *context;
    int probe;

    pthread_once(&context_once, context_key_make);
    context = pthread_getspecific(context_key);
    if (context) {
        return context;
    }
    probe = sys_eventfd(0, EFD_CLOEXEC);
    if (probe < 0) {
        qio_error_set_errno(errp, errno, "no descriptor left to wait with");
        return NULL;
    }
    sys_close(probe);
    context = g_main_context_new();
    pthread_setspecific(context_key, context);
    return context;
}

static gboolean on_ready(QIOChannel *ioc, GIOCondition condition, gpointer opaque)
{
    *(GIOCondition *)opaque = condition;
    return G_SOURCE_REMOVE;
}

static gboolean on_deadline(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

static GSource *attach_deadline(GMainContext *context, int64_t deadline_ns)
{
    GSource *source;

    if (deadline_ns == QIO_NEVER || deadline_ns == 0) {
        return NULL;
    }
    source = g_timeout_source_new((guint)sys_ms_left(deadline_ns));
    g_source_set_callback(source, on_deadline, NULL, NULL);
    g_source_attach(source, context);
    return source;
}

static GSource *attach_watch(QIOChannel *ioc, GIOCondition condition, GMainContext *context,
                             GIOCondition *got, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);
    GSource *source = NULL;

    if (klass->io_create_watch) {
        source = klass->io_create_watch(ioc, qio_channel_class_condition(condition));
    }
    if (!source) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "a channel of type '%s' cannot be waited for",
                      G_OBJECT_TYPE_NAME(ioc));
        return NULL;
    }
    g_source_set_callback(source, (GSourceFunc)(void (*)(void))on_ready, got, NULL);
    g_source_attach(source, context);
    return source;
}

static void detach(GSource *source)
{
    if (source) {
        g_source_destroy(source);
        g_source_unref(source);
    }
}

static int iterate(QIOChannel *ioc, QIOWaiter *waiter, const GIOCondition *got,
                   int64_t deadline_ns, Error **errp)
{
    for (;;) {
        if (atomic_load(&waiter->reason) != 0 || qio_channel_closing(ioc)) {
            qio_channel_set_waiter_error(waiter, errp);
            return -1;
        }
        if ((waiter->condition & G_IO_IN) && qio_readahead_ready(ioc)) {
            return G_IO_IN;     /* another thread gave it back */
        }
        g_main_context_iteration(waiter->context, deadline_ns != 0);
        if (*got) {
            return (int)qio_channel_report(waiter->condition, *got);
        }
        if (deadline_ns == 0 || (deadline_ns != QIO_NEVER && sys_ms_left(deadline_ns) == 0)) {
            return 0;
        }
    }
}

int qio_channel_wait_seed(QIOChannel *ioc, GIOCondition condition, int64_t deadline_ns,
                          Error **errp)
{
    QIOWaiter waiter = { .condition = condition, .wake_fd = -1 };
    GIOCondition got = 0;
    GSource *watch, *deadline;
    int ready = -1;

    waiter.context = thread_context(errp);
    if (!waiter.context || qio_channel_enter(ioc, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    watch = attach_watch(ioc, condition, waiter.context, &got, errp);
    if (watch) {
        deadline = attach_deadline(waiter.context, deadline_ns);
        qio_channel_waiter_add(ioc, &waiter);
        ready = iterate(ioc, &waiter, &got, deadline_ns, errp);
        qio_channel_waiter_remove(ioc, &waiter);
        detach(deadline);
        detach(watch);
    }
    qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    return ready;
}
