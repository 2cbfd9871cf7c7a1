/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-look.c: one who looks, or reads in part, beside one who waits.
 *
 * Owns: the promise that bytes which a call has moved out of the descriptor, into a layer or the
 * read-ahead, and not handed out wake everybody who waits for them: sleeping threads, watches of a
 * loop, sources of GLib.  Their descriptor has nothing more to say of these bytes.
 */
#include <glib.h>
#include <pthread.h>
#include "base/sys.h"
#include "loop/loop.h"
#include "seam.h"
#include "tls-pair.h"
#include "ws-util.h"

enum { LONG_MS = 10000 };

static const char *const psk = "tls-psk-file=@keys.psk;tls-psk-user=alice";
static const char *const names[] = { "TLS", "WebSocket", "WebSocket over TLS", "socket" };

typedef struct Ends {
    QIOChannel *near, *far;
} Ends;

static Ends tls_ends(void)
{
    TlsPair two;
    Ends ends;

    tls_pair(&two, psk, "tls-psk-file=@keys.psk", NULL, NULL);
    tls_shake_well(&two);
    ends = (Ends){ g_object_ref(two.client), g_object_ref(two.server) };
    tls_drop(&two);
    return ends;
}

static Ends ws_ends(Ends below)
{
    QIOChannel *near = QIO_CHANNEL(ws_new(below.near, NULL, false));
    QIOChannel *far = QIO_CHANNEL(ws_new(below.far, NULL, true));
    int n, f;

    drop(below.near, below.far);
    do {
        n = QIO_CHANNEL_GET_CLASS(near)->io_handshake(near, NULL);
        f = QIO_CHANNEL_GET_CLASS(far)->io_handshake(far, NULL);
        CHECK(n != -1 && f != -1);
    } while (n != 0 || f != 0);
    return (Ends){ near, far };
}

static Ends make(size_t kind)
{
    Ends ends;

    test_note("%s", names[kind]);
    if (kind == 0 || kind == 2) {
        ends = tls_ends();
    } else {
        pair(&ends.near, &ends.far);
    }
    return kind == 1 || kind == 2 ? ws_ends(ends) : ends;
}

/* ---- who takes the bytes out of the descriptor ---- */

typedef void Look(QIOChannel *ioc);

static void look_in(QIOChannel *ioc)
{
    CHECK_INT(qio_channel_wait_timeout(ioc, G_IO_IN, 0, NULL), ==, G_IO_IN);
}

static void read_a_part(QIOChannel *ioc)
{
    char buf[2];

    CHECK_INT(qio_channel_try_read(ioc, buf, sizeof(buf), NULL), ==, 2);
}

static void find_no_line(QIOChannel *ioc)
{
    struct iovec newline = { .iov_base = "\n", .iov_len = 1 };
    Error *err = NULL;
    char buf[4];

    CHECK_INT(qio_channel_try_read_until(ioc, buf, sizeof(buf), &newline, 1, 4, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_LIMIT);
    qio_error_free(err);
}

static Look *const looks[] = { look_in, read_a_part, find_no_line };

static void say_and_look(Ends *ends, Look *look)
{
    CHECK_INT(qio_channel_write_all(ends->far, "some news", 9, NULL), ==, 0);
    look(ends->near);
}

/* ---- who waits ---- */

/* Done by another thread right before the sleep of the one that waits. */
static struct {
    Ends *ends;
    Look *look;
    pthread_t sleeper;
} before;

static void *do_before(void *opaque)
{
    say_and_look(before.ends, before.look);
    return NULL;
}

static int poll_after_that(struct pollfd *fds, nfds_t nfds, int timeout_ms)
{
    pthread_t thread;

    if (timeout_ms != 0 && before.look && pthread_equal(pthread_self(), before.sleeper)) {
        CHECK_INT(pthread_create(&thread, NULL, do_before, NULL), ==, 0);
        pthread_join(thread, NULL);
        before.look = NULL;
    }
    return poll(fds, nfds, timeout_ms);
}

TEST(a_thread_that_sleeps, .timeout_s = 60)
{
    const QIOSysTable *direct = seam_get_below();
    QIOSysTable table = *direct;

    table.poll = poll_after_that;
    for (size_t kind = 0; kind < G_N_ELEMENTS(names); kind++) {
        for (size_t i = 0; i < G_N_ELEMENTS(looks); i++) {
            Ends ends = make(kind);

            before.ends = &ends;
            before.look = looks[i];
            before.sleeper = pthread_self();
            seam_set_below(&table);
            seam_install();
            CHECK_INT(qio_channel_wait_timeout(ends.near, G_IO_IN, LONG_MS, NULL), ==, G_IO_IN);
            CHECK_PTR(before.look, ==, NULL);
            seam_remove();
            seam_set_below(direct);
            drop(ends.near, ends.far);
        }
    }
}

static gboolean count(QIOChannel *ioc, GIOCondition condition, gpointer opaque)
{
    CHECK_INT(condition, ==, G_IO_IN);
    ++*(int *)opaque;
    return G_SOURCE_REMOVE;
}

TEST(a_watch_of_a_loop, .timeout_s = 60)
{
    AioContext *ctx = qio_aio_context_new(NULL);

    for (size_t kind = 0; kind < G_N_ELEMENTS(names); kind++) {
        for (size_t i = 0; i < G_N_ELEMENTS(looks); i++) {
            Ends ends = make(kind);
            int calls = 0;

            qio_loop_watch_unref(qio_channel_add_aio_watch(ends.near, ctx, G_IO_IN, count, &calls,
                                                           NULL, NULL));
            CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), >=, 0);
            CHECK_INT(calls, ==, 0);
            say_and_look(&ends, looks[i]);
            CHECK_INT(qio_aio_context_dispatch(ctx, LONG_MS, NULL), >, 0);
            CHECK_INT(calls, ==, 1);
            drop(ends.near, ends.far);
        }
    }
    qio_aio_context_unref(ctx);
}

static gboolean give_up(gpointer opaque)
{
    CHECK(!"the source was called");
    return G_SOURCE_REMOVE;
}

/* A context sleeps in its poll while another thread looks: it prepares nothing on its own. */
static gint poll_of_context(GPollFD *fds, guint nfds, gint timeout_ms)
{
    return poll_after_that((struct pollfd *)fds, nfds, timeout_ms);
}

TEST(a_source_of_glib, .timeout_s = 60)
{
    GMainContext *context = g_main_context_new();

    g_main_context_set_poll_func(context, poll_of_context);
    for (size_t kind = 0; kind < G_N_ELEMENTS(names); kind++) {
        for (size_t i = 0; i < G_N_ELEMENTS(looks); i++) {
            Ends ends = make(kind);
            GSource *deadline = g_timeout_source_new(LONG_MS);
            int calls = 0;

            g_source_set_callback(deadline, give_up, NULL, NULL);
            g_source_attach(deadline, context);
            qio_channel_add_watch_full(ends.near, G_IO_IN, count, &calls, NULL, context);
            /* Once without waiting: what was attached has woken the context. */
            g_main_context_iteration(context, FALSE);
            before.ends = &ends;
            before.look = looks[i];
            before.sleeper = pthread_self();
            while (calls == 0) {
                g_main_context_iteration(context, TRUE);
            }
            CHECK_PTR(before.look, ==, NULL);
            g_source_destroy(deadline);
            g_source_unref(deadline);
            drop(ends.near, ends.far);
        }
    }
    g_main_context_unref(context);
}

/* Two watches of one channel: the first one's look must not leave the second without. */
TEST(two_watches_of_one_loop)
{
    AioContext *ctx = qio_aio_context_new(NULL);

    for (size_t kind = 0; kind < G_N_ELEMENTS(names); kind++) {
        Ends ends = make(kind);
        int calls[2] = { 0, 0 };

        for (int i = 0; i < 2; i++) {
            qio_loop_watch_unref(qio_channel_add_aio_watch(ends.near, ctx, G_IO_IN, count,
                                                           &calls[i], NULL, NULL));
        }
        CHECK_INT(qio_aio_context_dispatch(ctx, 0, NULL), >=, 0);
        CHECK_INT(qio_channel_write_all(ends.far, "some news", 9, NULL), ==, 0);
        for (int turns = 0; turns < 4 && calls[0] + calls[1] < 2; turns++) {
            CHECK_INT(qio_aio_context_dispatch(ctx, LONG_MS, NULL), >, 0);
        }
        CHECK_INT(calls[0], ==, 1);
        CHECK_INT(calls[1], ==, 1);
        drop(ends.near, ends.far);
    }
    qio_aio_context_unref(ctx);
}
