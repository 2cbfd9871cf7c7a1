/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seed-api.c: the channel API of early 2018 against the installed header and library.
 *
 * Each declaration of that header stands here once with its type; a pointer of that type takes
 * the function, so another type does not compile (in C++ either: this file is built as both),
 * a function that is not exported does not link, and the count says that none was forgotten.
 */
#include <stdio.h>
#include <qio/channel.h>

#define FUNCTIONS(F) \
    F(bool, has_feature, (QIOChannel *, QIOChannelFeature)) \
    F(void, set_feature, (QIOChannel *, QIOChannelFeature)) \
    F(void, set_name, (QIOChannel *, const char *)) \
    F(ssize_t, readv_full, (QIOChannel *, const struct iovec *, size_t, int **, size_t *, \
                            Error **)) \
    F(ssize_t, writev_full, (QIOChannel *, const struct iovec *, size_t, int *, size_t, Error **)) \
    F(int, readv_all_eof, (QIOChannel *, const struct iovec *, size_t, Error **)) \
    F(int, readv_all, (QIOChannel *, const struct iovec *, size_t, Error **)) \
    F(int, writev_all, (QIOChannel *, const struct iovec *, size_t, Error **)) \
    F(ssize_t, readv, (QIOChannel *, const struct iovec *, size_t, Error **)) \
    F(ssize_t, writev, (QIOChannel *, const struct iovec *, size_t, Error **)) \
    F(ssize_t, read, (QIOChannel *, char *, size_t, Error **)) \
    F(ssize_t, write, (QIOChannel *, const char *, size_t, Error **)) \
    F(int, read_all_eof, (QIOChannel *, char *, size_t, Error **)) \
    F(int, read_all, (QIOChannel *, char *, size_t, Error **)) \
    F(int, write_all, (QIOChannel *, const char *, size_t, Error **)) \
    F(int, set_blocking, (QIOChannel *, bool, Error **)) \
    F(int, close, (QIOChannel *, Error **)) \
    F(int, shutdown, (QIOChannel *, QIOChannelShutdown, Error **)) \
    F(void, set_delay, (QIOChannel *, bool)) \
    F(void, set_cork, (QIOChannel *, bool)) \
    F(off_t, io_seek, (QIOChannel *, off_t, int, Error **)) \
    F(GSource *, create_watch, (QIOChannel *, GIOCondition)) \
    F(guint, add_watch, (QIOChannel *, GIOCondition, QIOChannelFunc, gpointer, GDestroyNotify)) \
    F(guint, add_watch_full, (QIOChannel *, GIOCondition, QIOChannelFunc, gpointer, \
                              GDestroyNotify, GMainContext *)) \
    F(GSource *, add_watch_source, (QIOChannel *, GIOCondition, QIOChannelFunc, gpointer, \
                                    GDestroyNotify, GMainContext *)) \
    F(void, attach_aio_context, (QIOChannel *, AioContext *)) \
    F(void, detach_aio_context, (QIOChannel *)) \
    F(void, yield, (QIOChannel *, GIOCondition)) \
    F(void, wait, (QIOChannel *, GIOCondition)) \
    F(void, set_aio_fd_handler, (QIOChannel *, AioContext *, IOHandler *, IOHandler *, void *))

#define MEMBERS(M) \
    M(ssize_t, io_writev, (QIOChannel *, const struct iovec *, size_t, int *, size_t, Error **)) \
    M(ssize_t, io_readv, (QIOChannel *, const struct iovec *, size_t, int **, size_t *, Error **)) \
    M(int, io_close, (QIOChannel *, Error **)) \
    M(GSource *, io_create_watch, (QIOChannel *, GIOCondition)) \
    M(int, io_set_blocking, (QIOChannel *, bool, Error **)) \
    M(int, io_shutdown, (QIOChannel *, QIOChannelShutdown, Error **)) \
    M(void, io_set_cork, (QIOChannel *, bool)) \
    M(void, io_set_delay, (QIOChannel *, bool)) \
    M(off_t, io_seek, (QIOChannel *, off_t, int, Error **)) \
    M(void, io_set_aio_fd_handler, (QIOChannel *, AioContext *, IOHandler *, IOHandler *, void *))

#define POINTER(result, name, parameters) \
    static result (*const pointer_to_##name) parameters = qio_channel_##name;
FUNCTIONS(POINTER)

#define MEMBER_TYPE(result, name, parameters) \
    { result (*member) parameters = klass->name; members += member == NULL; }
#define COUNT(result, name, parameters) functions += pointer_to_##name != NULL;

/* Taking the address of each member of an empty class: all are there and all are NULL. */
static int count_members(const QIOChannelClass *klass)
{
    int members = 0;

    MEMBERS(MEMBER_TYPE)
    return members;
}

G_STATIC_ASSERT(QIO_CHANNEL_ERR_BLOCK == -2);
G_STATIC_ASSERT(QIO_CHANNEL_FEATURE_FD_PASS == 0 && QIO_CHANNEL_FEATURE_SHUTDOWN == 1);
G_STATIC_ASSERT(QIO_CHANNEL_FEATURE_LISTEN == 2);
G_STATIC_ASSERT(QIO_CHANNEL_SHUTDOWN_BOTH == 0 && QIO_CHANNEL_SHUTDOWN_READ == 1);
G_STATIC_ASSERT(QIO_CHANNEL_SHUTDOWN_WRITE == 2);

#if !defined(TYPE_QIO_CHANNEL) || !defined(QIO_CHANNEL) || !defined(QIO_CHANNEL_CLASS) || \
    !defined(QIO_CHANNEL_GET_CLASS)
#error "the type name and the casts are macros"
#endif

static gboolean watch_function(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    (void)ioc;
    (void)condition;
    (void)data;
    return FALSE;
}

int main(void)
{
    QIOChannelFunc function = watch_function;
    QIOChannelClass *klass = g_new0(QIOChannelClass, 1);
    int functions = 0, members = count_members(klass);

    g_free(klass);
    FUNCTIONS(COUNT)
    printf("%d functions, %d members, type %s\n", functions, members, TYPE_QIO_CHANNEL);
    return functions == 30 && members == 10 && function ? 0 : 1;
}
