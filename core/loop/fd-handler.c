/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/fd-handler.c: the pair of handlers of a descriptor that is not a channel.
 *
 * Owns: ctx->handlers, at most one pair for each descriptor.
 * Rule: handlers_lock guards the table only; it is held neither while a watch is added or
 * removed nor while a handler runs.  A pair has a reference of its watch and one of the
 * table.
 */
#include "loop/context.h"

typedef struct Handler {
    atomic_int refs;
    atomic_bool replaced;
    QIOLoopWatch *watch;        /* the table's */
    IOHandler *io_read;
    IOHandler *io_write;
    void *opaque;
} Handler;

static void handler_unref(void *opaque)
{
    Handler *handler = opaque;

    if (atomic_fetch_sub(&handler->refs, 1) == 1) {
        g_free(handler);
    }
}

static gboolean handler_call(int fd, GIOCondition condition, void *opaque)
{
    Handler *handler = opaque;

    if (handler->io_read && condition & ~G_IO_OUT) {
        handler->io_read(handler->opaque);
    }
    /* The first may have replaced or removed the pair. */
    if (handler->io_write && condition & ~(G_IO_IN | G_IO_PRI) &&
        !atomic_load(&handler->replaced)) {
        handler->io_write(handler->opaque);
    }
    return TRUE;
}

/* Exchanges the table's entry; NULL = none.  Returns the old one. */
static Handler *swap(AioContext *ctx, int fd, Handler *handler)
{
    Handler *old;

    pthread_mutex_lock(&ctx->handlers_lock);
    old = g_hash_table_lookup(ctx->handlers, GINT_TO_POINTER(fd));
    if (handler) {
        g_hash_table_insert(ctx->handlers, GINT_TO_POINTER(fd), handler);
    } else if (old) {
        g_hash_table_remove(ctx->handlers, GINT_TO_POINTER(fd));
    }
    pthread_mutex_unlock(&ctx->handlers_lock);
    return old;
}

static void dispose(Handler *handler)
{
    if (!handler) {
        return;
    }
    atomic_store(&handler->replaced, true);
    qio_loop_watch_remove(handler->watch);
    qio_loop_watch_unref(handler->watch);
    handler_unref(handler);
}

static Handler *handler_new(AioContext *ctx, int fd, IOHandler *io_read, IOHandler *io_write,
                            void *opaque, Error **errp)
{
    GIOCondition condition = (io_read ? G_IO_IN : 0) | (io_write ? G_IO_OUT : 0);
    Handler *handler = g_new0(Handler, 1);

    atomic_init(&handler->refs, 2);
    handler->io_read = io_read;
    handler->io_write = io_write;
    handler->opaque = opaque;
    handler->watch = qio_aio_context_add_fd_watch(ctx, fd, condition, handler_call, handler,
                                                  handler_unref, errp);
    if (!handler->watch) {
        handler_unref(handler);
        return NULL;
    }
    return handler;
}

static void install(AioContext *ctx, int fd, Handler *handler)
{
    QIOLoopWatch *watch = qio_loop_watch_ref(handler->watch);

    /* There is an old one when two threads set the same: the last to come stays. */
    dispose(swap(ctx, fd, handler));
    if (qio_loop_watch_is_removed(watch)) {
        /* The loop closed meanwhile, perhaps before it could find the entry. */
        dispose(swap(ctx, fd, NULL));
    }
    qio_loop_watch_unref(watch);
}

void qio_aio_context_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                                    IOHandler *io_write, void *opaque)
{
    Error *err = NULL;
    Handler *handler = NULL;

    ctx = qio_loop_resolve(ctx, &err);
    if (ctx) {
        dispose(swap(ctx, fd, NULL));
        if (!io_read && !io_write) {
            return;
        }
        handler = handler_new(ctx, fd, io_read, io_write, opaque, &err);
    }
    if (!handler) {
        g_warning("no handlers for descriptor %d: %s", fd, qio_error_get_pretty(err));
        qio_error_free(err);
        return;
    }
    install(ctx, fd, handler);
}

void qio_loop_handlers_free(AioContext *ctx)
{
    GHashTableIter iter;
    gpointer fd;
    bool found;

    do {
        pthread_mutex_lock(&ctx->handlers_lock);
        g_hash_table_iter_init(&iter, ctx->handlers);
        found = g_hash_table_iter_next(&iter, &fd, NULL);
        pthread_mutex_unlock(&ctx->handlers_lock);
        if (found) {
            dispose(swap(ctx, GPOINTER_TO_INT(fd), NULL));
        }
    } while (found);
}
