/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/gsource.c: the loop as one source of a GMainContext, and the main loop.
 *
 * Owns: the bridge to GLib.
 * Rule: the source polls the loop's descriptor and holds a user's reference; timers and
 * wake-ups are inside that descriptor, so it needs neither prepare nor check and costs GLib
 * the same however many watches the loop has.
 */
#include "loop/context.h"

typedef struct QIOLoopSource {
    GSource parent;
    AioContext *ctx;
} QIOLoopSource;

static gboolean source_dispatch(GSource *source, GSourceFunc callback, gpointer opaque)
{
    AioContext *ctx = ((QIOLoopSource *)source)->ctx;
    Error *err = NULL;
    gboolean keep = G_SOURCE_CONTINUE;

    /* BUSY: another thread serves the loop just now.  INTR cannot be: it does not wait. */
    if (qio_aio_context_dispatch(ctx, 0, &err) < 0) {
        keep = qio_error_get_code(err) != QIO_ERROR_CLOSED;
        qio_error_free(err);
    }
    return keep;
}

static void source_finalize(GSource *source)
{
    qio_aio_context_unref(((QIOLoopSource *)source)->ctx);
}

static GSourceFuncs source_funcs = {
    .dispatch = source_dispatch,
    .finalize = source_finalize,
};

GSource *qio_aio_context_get_g_source(AioContext *ctx)
{
    GSource *source;
    int fd;

    ctx = qio_loop_resolve(ctx, NULL);
    if (!ctx) {
        return NULL;
    }
    fd = qio_aio_context_get_fd(ctx);
    source = g_source_new(&source_funcs, sizeof(QIOLoopSource));
    ((QIOLoopSource *)source)->ctx = qio_aio_context_ref(ctx);
    g_source_set_name(source, "qio-loop");
    g_source_add_unix_fd(source, fd, G_IO_IN);
    return source;
}

/* GLib aborts when the default GMainContext cannot have its wake-up descriptor (two where
 * eventfd is missing), so ask for them first. */
static bool has_free_fds(Error **errp)
{
    int first = sys_eventfd(0, EFD_CLOEXEC);
    int second = sys_eventfd(0, EFD_CLOEXEC);
    bool both = first >= 0 && second >= 0;

    if (!both) {
        qio_error_set_errno(errp, errno, "no descriptor left for the main loop");
    }
    if (second >= 0) {
        sys_close(second);
    }
    if (first >= 0) {
        sys_close(first);
    }
    return both;
}

static AioContext *make_main(Error **errp)
{
    AioContext *ctx = qio_aio_context_new(errp);
    GSource *source;

    if (!ctx) {
        return NULL;
    }
    if (!has_free_fds(errp)) {
        qio_aio_context_unref(ctx);
        return NULL;
    }
    source = qio_aio_context_get_g_source(ctx);
    g_source_attach(source, NULL);
    g_source_unref(source);
    return ctx;
}

static AioContext *get_main(Error **errp)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static _Atomic(AioContext *) main_ctx;
    AioContext *ctx = atomic_load(&main_ctx);

    if (ctx) {
        return ctx;
    }
    pthread_mutex_lock(&lock);
    ctx = atomic_load(&main_ctx);
    if (!ctx) {
        ctx = make_main(errp);
        atomic_store(&main_ctx, ctx);
    }
    pthread_mutex_unlock(&lock);
    return ctx;
}

AioContext *qio_get_main_aio_context(void)
{
    return get_main(NULL);
}

AioContext *qio_loop_resolve(AioContext *ctx, Error **errp)
{
    return ctx ? ctx : get_main(errp);
}
