/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seed-subclass.c: a class of channels written from the early-2018 header alone, against the
 * installed library: registered by type_register_static(), five methods, a GSource for its
 * watches, nothing of what came later.  It must work in all that the base class offers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <qio/channel.h>
#include <qio/qemu-names.h>

#define TYPE_SEED_CHANNEL "seed-channel"
#define SEED_CHANNEL(obj) OBJECT_CHECK(SeedChannel, (obj), TYPE_SEED_CHANNEL)

typedef struct SeedChannel {
    QIOChannel parent;
    int fd;
} SeedChannel;

static int finalized;

static ssize_t result_of(ssize_t n, const char *what, Error **errp)
{
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    error_setg_errno(errp, errno, "cannot %s", what);
    return -1;
}

static ssize_t seed_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                           size_t nfds, Error **errp)
{
    return result_of(writev(SEED_CHANNEL(ioc)->fd, iov, (int)niov), "write", errp);
}

static ssize_t seed_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                          size_t *nfds, Error **errp)
{
    return result_of(readv(SEED_CHANNEL(ioc)->fd, iov, (int)niov), "read", errp);
}

static int seed_close(QIOChannel *ioc, Error **errp)
{
    SeedChannel *seed = SEED_CHANNEL(ioc);
    int fd = seed->fd;

    seed->fd = -1;
    return fd < 0 || close(fd) == 0 ? 0 : -1;
}

static int seed_set_blocking(QIOChannel *ioc, bool enabled, Error **errp)
{
    return fcntl(SEED_CHANNEL(ioc)->fd, F_SETFL, enabled ? 0 : O_NONBLOCK);
}

typedef struct SeedSource {
    GSource parent;
    QIOChannel *ioc;
    gpointer tag;
} SeedSource;

static gboolean source_check(GSource *source)
{
    return g_source_query_unix_fd(source, ((SeedSource *)source)->tag) != 0;
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    QIOChannelFunc func = (QIOChannelFunc)(void (*)(void))callback;
    SeedSource *seed = (SeedSource *)source;

    return func(seed->ioc, g_source_query_unix_fd(source, seed->tag), data);
}

static void source_finalize(GSource *source)
{
    object_unref(OBJECT(((SeedSource *)source)->ioc));
}

static GSourceFuncs source_funcs = {
    .check = source_check,
    .dispatch = source_dispatch,
    .finalize = source_finalize,
};

static GSource *seed_create_watch(QIOChannel *ioc, GIOCondition condition)
{
    GSource *source = g_source_new(&source_funcs, sizeof(SeedSource));
    SeedSource *seed = (SeedSource *)source;

    seed->ioc = ioc;
    object_ref(OBJECT(ioc));
    seed->tag = g_source_add_unix_fd(source, SEED_CHANNEL(ioc)->fd, condition);
    return source;
}

static void seed_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_klass = QIO_CHANNEL_CLASS(klass);

    ioc_klass->io_writev = seed_writev;
    ioc_klass->io_readv = seed_readv;
    ioc_klass->io_close = seed_close;
    ioc_klass->io_create_watch = seed_create_watch;
    ioc_klass->io_set_blocking = seed_set_blocking;
}

static void seed_init(Object *obj)
{
    SEED_CHANNEL(obj)->fd = -1;
    qio_channel_set_feature(QIO_CHANNEL(obj), QIO_CHANNEL_FEATURE_SHUTDOWN);
}

static void seed_finalize(Object *obj)
{
    finalized++;
}

static const TypeInfo seed_info = {
    .name = TYPE_SEED_CHANNEL,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(SeedChannel),
    .instance_init = seed_init,
    .instance_finalize = seed_finalize,
    .class_init = seed_class_init,
};

static void seed_register_types(void)
{
    type_register_static(&seed_info);
}

type_init(seed_register_types);

/* ---- the tests ---- */

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            g_printerr("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)

static QIOChannel *new_channel(int fd)
{
    SeedChannel *seed = SEED_CHANNEL(object_new(TYPE_SEED_CHANNEL));

    CHECK(seed);
    seed->fd = fd;
    qio_channel_set_name(QIO_CHANNEL(seed), "seed");
    return QIO_CHANNEL(seed);
}

static void make_pair(QIOChannel **pair)
{
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    pair[0] = new_channel(fds[0]);
    pair[1] = new_channel(fds[1]);
}

static void drop_pair(QIOChannel **pair)
{
    object_unref(OBJECT(pair[0]));
    object_unref(OBJECT(pair[1]));
}

enum { BIG = 1 << 20 };

static void *write_big(void *opaque)
{
    char *bytes = g_malloc0(BIG);

    CHECK(qio_channel_write_all(opaque, bytes, BIG, NULL) == 0);
    g_free(bytes);
    return NULL;
}

/* In either mode the whole transfers wait as they need. */
static void test_all(bool blocking)
{
    char *bytes = g_malloc(BIG);
    QIOChannel *pair[2];
    Error *err = NULL;
    pthread_t thread;
    char buf[8];

    make_pair(pair);
    CHECK(qio_channel_set_blocking(pair[0], blocking, &err) == 0);
    CHECK(qio_channel_set_blocking(pair[1], blocking, &err) == 0);
    CHECK(pthread_create(&thread, NULL, write_big, pair[0]) == 0);
    CHECK(qio_channel_read_all(pair[1], bytes, BIG, &err) == 0);
    pthread_join(thread, NULL);
    if (!blocking) {
        CHECK(qio_channel_read(pair[1], buf, 8, &err) == QIO_CHANNEL_ERR_BLOCK && !err);
    }
    CHECK(qio_channel_close(pair[0], &err) == 0);
    CHECK(qio_channel_read_all_eof(pair[1], buf, 8, &err) == 0 && !err);
    CHECK(qio_channel_read_all(pair[1], buf, 8, &err) == -1 && err);
    error_free(err);
    g_free(bytes);
    drop_pair(pair);
}

static void test_wait(void)
{
    QIOChannel *pair[2];
    char buf[4];

    make_pair(pair);
    qio_channel_wait(pair[0], G_IO_OUT);
    CHECK(qio_channel_write(pair[1], "ab", 2, NULL) == 2);
    qio_channel_wait(pair[0], G_IO_IN);
    CHECK(qio_channel_read(pair[0], buf, 4, NULL) == 2);
    drop_pair(pair);
}

typedef struct Watched {
    GIOCondition condition;
    int calls, freed;
} Watched;

static gboolean on_ready(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    Watched *watched = data;
    char buf[4];

    watched->condition = condition;
    watched->calls++;
    CHECK(qio_channel_read(ioc, buf, 4, NULL) >= 0);
    return watched->calls < 2;
}

static void on_freed(gpointer data)
{
    ((Watched *)data)->freed++;
}

static void test_watch(void)
{
    GMainContext *context = g_main_context_new();
    Watched watched = { 0 };
    QIOChannel *pair[2];

    make_pair(pair);
    CHECK(qio_channel_add_watch_full(pair[0], G_IO_IN, on_ready, &watched, on_freed, context));
    CHECK(!g_main_context_iteration(context, FALSE));
    for (int i = 1; i <= 2; i++) {
        CHECK(qio_channel_write(pair[1], "x", 1, NULL) == 1);
        CHECK(g_main_context_iteration(context, TRUE));
        CHECK(watched.calls == i && watched.condition == G_IO_IN);
    }
    CHECK(watched.freed == 1);
    g_main_context_unref(context);
    drop_pair(pair);
}

static void test_not_supported(void)
{
    QIOChannel *pair[2];
    Error *err = NULL;
    int *fds;
    size_t nfds;
    char buf[1];
    struct iovec iov = { buf, 1 };

    make_pair(pair);
    CHECK(qio_channel_shutdown(pair[0], QIO_CHANNEL_SHUTDOWN_WRITE, NULL) == -1);
    CHECK(qio_channel_io_seek(pair[0], 0, SEEK_SET, &err) == -1 && err);
    error_free(err);
    err = NULL;
    CHECK(qio_channel_readv_full(pair[0], &iov, 1, &fds, &nfds, &err) == -1 && err);
    error_free(err);
    CHECK(qio_channel_has_feature(pair[0], QIO_CHANNEL_FEATURE_SHUTDOWN));
    drop_pair(pair);
}

int main(void)
{
    test_all(true);
    test_all(false);
    test_wait();
    test_watch();
    test_not_supported();
    CHECK(finalized == 10);
    return 0;
}
