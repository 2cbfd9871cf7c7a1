/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-open-task.c: opening, connecting, listening and looking names up in a loop.
 *
 * Owns: that such an operation ends once, whichever way, and that the loop goes on meanwhile.  What
 * a race of addresses does in time is on the test clock.
 */
#include "hole.h"
#include "loop-util.h"
#include "names.h"
#include "testclock.h"
#include "net/net-priv.h"

#include <qio/channel-file.h>
#include <qio/dns-resolver.h>
#include <stdio.h>
#include <sys/stat.h>

/* What became of a task. */
typedef struct Story {
    AioContext *ctx;
    int called, destroyed;
    bool closing;
    Error *err;
    QIOChannel *ioc;
    QIOTask *task;
} Story;

static void on_end(QIOTask *task, gpointer opaque)
{
    Story *story = opaque;

    CHECK_INT(story->called++, ==, 0);
    CHECK(story->closing || qio_loop_is_dispatching(story->ctx));
    if (!qio_task_propagate_error(task, &story->err) && qio_task_get_source(task) == NULL) {
        story->ioc = qio_task_take_result(task);
    }
}

static void on_destroy(gpointer opaque)
{
    Story *story = opaque;

    CHECK_INT(story->called, ==, 1);
    story->destroyed++;
}

static void begin(Story *story)
{
    *story = (Story) { .ctx = new_loop() };
}

static void open_in_loop(Story *story, const char *uri)
{
    begin(story);
    story->task = qio_channel_open_uri_task(uri, NULL, story->ctx, on_end, story, on_destroy);
}

/* Until its function has run. */
static void dispatch_to_end(Story *story)
{
    while (story->destroyed == 0) {
        CHECK_INT(qio_aio_context_dispatch(story->ctx, -1, NULL), >=, 0);
    }
    CHECK_INT(story->called, ==, 1);
}

static void end(Story *story)
{
    qio_object_unref(story->ioc);
    qio_error_free(story->err);
    qio_task_unref(story->task);
    qio_aio_context_unref(story->ctx);
}

static void check_opened(Story *story, const char *type)
{
    if (story->ioc == NULL) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(story->err));
    }
    CHECK_STR(qio_object_get_typename((Object *)story->ioc), type);
}

static void check_failed(Story *story, QIOErrorCode code, const char *part)
{
    CHECK_PTR(story->ioc, ==, NULL);
    CHECK_INT(qio_error_get_code(story->err), ==, code);
    CHECK_STR_HAS(qio_error_get_pretty(story->err), part);
}

/* ---- what a URI opens ---- */

TEST(a_name)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.1", &port, 5);
    char uri[60];
    Story story;

    names_install();
    names_answer("name", 0, "::1 127.0.0.1");
    snprintf(uri, sizeof(uri), "tcp://name:%u?name=n&nodelay=on", port);
    open_in_loop(&story, uri);
    CHECK_INT(story.called, ==, 0);
    dispatch_to_end(&story);
    check_opened(&story, TYPE_QIO_CHANNEL_SOCKET);
    CHECK_STR(story.ioc->name, "n");
    CHECK(qio_channel_get_blocking(story.ioc));
    CHECK_INT(fcntl(qio_channel_get_fd(story.ioc, NULL), F_GETFL) & O_NONBLOCK, ==, 0);
    end(&story);
    close(fd);
}

TEST(each_scheme)
{
    static const struct {
        const char *uri, *type;
    } rows[] = {
        { "null:", "qio-channel-null" }, { "buffer:", "qio-channel-buffer" },
        { "file:/dev/null", "qio-channel-file" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Story story;

        test_note("%s", rows[i].uri);
        open_in_loop(&story, rows[i].uri);
        dispatch_to_end(&story);
        check_quiet(story.ctx);
        check_opened(&story, rows[i].type);
        end(&story);
    }
}

TEST(a_unix_socket)
{
    char uri[200];
    QIONetListener *listener;
    Story story;

    snprintf(uri, sizeof(uri), "unix:%s/s", test_dir());
    listener = qio_net_listener_open_uri(uri, NULL, NULL);
    open_in_loop(&story, uri);
    dispatch_to_end(&story);
    check_opened(&story, TYPE_QIO_CHANNEL_SOCKET);
    CHECK(qio_channel_has_feature(story.ioc, QIO_CHANNEL_FEATURE_FD_PASS));
    end(&story);
    qio_object_unref(listener);
}

/* Nobody is waited for. */
TEST(a_fifo)
{
    char uri[200], path[180];
    Story story;

    snprintf(path, sizeof(path), "%s/fifo", test_dir());
    CHECK_INT(mkfifo(path, 0600), ==, 0);
    snprintf(uri, sizeof(uri), "file:%s", path);
    open_in_loop(&story, uri);
    dispatch_to_end(&story);
    check_opened(&story, "qio-channel-file");
    end(&story);
    snprintf(uri, sizeof(uri), "file:%s?mode=w", path);
    open_in_loop(&story, uri);
    dispatch_to_end(&story);
    check_failed(&story, QIO_ERROR_SYSTEM, path);
    CHECK_INT(qio_error_get_errno(story.err), ==, ENXIO);
    end(&story);
}

TEST(what_cannot_be_opened)
{
    static const struct {
        const char *uri;
        QIOErrorCode code;
        const char *part;
    } rows[] = {
        { "tcp://nobody:1", QIO_ERROR_RESOLVE, "cannot resolve the host \"nobody\"" },
        { "tcp://here:1?numeric=on", QIO_ERROR_INVAL, "\"here\" is a name" },
        { "tcp://127.0.0.1:0", QIO_ERROR_INVAL, "port: there has to be one" },
        { "tcp://127.0.0.1:1?ipv4=off", QIO_ERROR_INVAL, "the key \"ipv4\" is off" },
        { "tcp://here", QIO_ERROR_INVAL, "at position 10" },
        { "unix:/no/such/socket", QIO_ERROR_SYSTEM, "unix:/no/such/socket" },
        { "file:/no/such/file", QIO_ERROR_SYSTEM, "/no/such/file" },
        { "exec:true", QIO_ERROR_SYSTEM, "needs \"exec\" or \"all\"" },
        { "fd:1000000", QIO_ERROR_INVAL, "1000000" },
        { "nonsense", QIO_ERROR_INVAL, "scheme" },
    };

    names_install();
    names_at_once();
    names_answer("here", 0, "127.0.0.1");
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Story story;

        test_note("%s", rows[i].uri);
        open_in_loop(&story, rows[i].uri);
        dispatch_to_end(&story);
        check_failed(&story, rows[i].code, rows[i].part);
        end(&story);
    }
}

TEST(a_name_that_refuses)
{
    uint16_t port;
    int fd = hold_port("127.0.0.1", &port);
    char uri[60], part[120];
    Story story;

    names_install();
    names_answer("here", 0, "127.0.0.1");
    snprintf(uri, sizeof(uri), "tcp://here:%u", port);
    open_in_loop(&story, uri);
    dispatch_to_end(&story);
    snprintf(part, sizeof(part), "%s: cannot connect to tcp://127.0.0.1:%u: ", uri, port);
    check_failed(&story, QIO_ERROR_SYSTEM, part);
    end(&story);
    close(fd);
}

/* ---- time ---- */

static void begin_on_clock(void)
{
    testclock_install();
    names_install();
    names_at_once();
}

static void run_on_clock(Story *story)
{
    while (story->destroyed == 0) {
        CHECK_INT(qio_aio_context_dispatch(story->ctx, -1, NULL), >=, 0);
    }
}

TEST(the_next_begins_after_250_ms)
{
    uint16_t port = 0;
    Hole hole;
    char uri[60];
    Story story;
    int fd;

    hole_open(&hole, "127.0.0.1", &port);
    fd = listen_at_port("127.0.0.2", &port, 5);
    begin_on_clock();
    names_answer("name", 0, "127.0.0.1 127.0.0.2");
    snprintf(uri, sizeof(uri), "tcp://name:%u", port);
    open_in_loop(&story, uri);
    run_on_clock(&story);
    check_opened(&story, TYPE_QIO_CHANNEL_SOCKET);
    CHECK_INT(testclock_elapsed_ms(), ==, 250);
    CHECK_INT(seam_hits(SEAM_connect), ==, 2);
    end(&story);
    testclock_remove();
    close(fd);
    hole_close(&hole);
}

TEST(one_deadline_for_all)
{
    uint16_t port = 0;
    Hole first, second;
    char uri[60];
    Story story;

    hole_open(&first, "127.0.0.1", &port);
    hole_open(&second, "127.0.0.2", &port);
    begin_on_clock();
    names_answer("name", 0, "127.0.0.1 127.0.0.2");
    snprintf(uri, sizeof(uri), "tcp://name:%u?timeout=0.6", port);
    open_in_loop(&story, uri);
    run_on_clock(&story);
    CHECK_PTR(story.ioc, ==, NULL);
    CHECK_INT(qio_error_get_code(story.err), ==, QIO_ERROR_TIMEOUT);
    CHECK_INT(testclock_elapsed_ms(), ==, 600);
    end(&story);
    testclock_remove();
    hole_close(&first);
    hole_close(&second);
}

/* A name that hangs: the loop goes on, and the deadline is kept. */
TEST(a_look_up_holds_no_loop_up)
{
    Story story;

    names_install();
    names_hold("slow");
    open_in_loop(&story, "tcp://slow:1?timeout=0.05");
    dispatch_to_end(&story);
    CHECK_INT(qio_error_get_code(story.err), ==, QIO_ERROR_TIMEOUT);
    names_release();
    names_settle();
    end(&story);
}

/* ---- other ends ---- */

TEST(cancelled_at_each_stage)
{
    uint16_t port = 0;
    Hole hole;
    char uri[60];

    hole_open(&hole, "127.0.0.1", &port);
    names_install();
    names_answer("slow", 0, "127.0.0.1");
    for (int stage = 0; stage < 4; stage++) {
        long connects = seam_hits(SEAM_connect);
        Story story;

        names_hold("slow");
        snprintf(uri, sizeof(uri), "tcp://%s:%u", stage == 3 ? "127.0.0.1" : "slow", port);
        open_in_loop(&story, uri);
        if (stage >= 1) {
            qio_aio_context_dispatch(story.ctx, 0, NULL);       /* it looks up, or connects */
        }
        if (stage == 2) {
            names_wait_held(1);
            names_release();
            while (seam_hits(SEAM_connect) == connects) {
                qio_aio_context_dispatch(story.ctx, 100, NULL);
            }
        }
        CHECK(qio_task_cancel(story.task));
        CHECK(!qio_task_cancel(story.task));
        dispatch_to_end(&story);
        CHECK_INT(qio_error_get_code(story.err), ==, QIO_ERROR_CANCELLED);
        names_release();
        names_settle();
        end(&story);
    }
    hole_close(&hole);
}

TEST(the_loop_is_closed)
{
    uint16_t port = 0;
    Hole hole;
    char uri[60];

    hole_open(&hole, "127.0.0.1", &port);
    snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%u", port);
    for (int dispatches = 0; dispatches < 3; dispatches++) {
        Story story;

        open_in_loop(&story, uri);
        for (int i = 0; i < dispatches; i++) {
            qio_aio_context_dispatch(story.ctx, 0, NULL);
        }
        story.closing = true;
        CHECK_INT(qio_aio_context_close(story.ctx, NULL), ==, 0);
        CHECK_INT(story.destroyed, ==, 1);
        CHECK_INT(qio_error_get_code(story.err), ==, QIO_ERROR_CANCELLED);
        end(&story);
    }
    hole_close(&hole);
}

/* Who waits for the task does its work. */
TEST(waited_for_without_a_dispatch)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.1", &port, 5);
    char uri[60];
    Story story;

    names_install();
    names_answer("name", 0, "127.0.0.1");
    snprintf(uri, sizeof(uri), "tcp://name:%u", port);
    begin(&story);
    story.task = qio_channel_open_uri_task(uri, NULL, story.ctx, NULL, NULL, NULL);
    CHECK_INT(qio_task_wait(story.task, 20000, NULL), ==, 1);
    story.ioc = qio_task_take_result(story.task);
    check_opened(&story, TYPE_QIO_CHANNEL_SOCKET);
    end(&story);
    close(fd);
}

/* A result that nobody takes is closed. */
TEST(a_channel_that_nobody_takes)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.1", &port, 5);
    char uri[60];
    Story story;

    snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%u", port);
    begin(&story);
    story.task = qio_channel_open_uri_task(uri, NULL, story.ctx, NULL, NULL, NULL);
    CHECK_INT(qio_task_wait(story.task, 20000, NULL), ==, 1);
    end(&story);
    close(fd);
}

/* ---- a channel of the caller's ---- */

TEST(connecting_a_channel)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.1", &port, 5);
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr = qio_address_new_inet("name", port);
    Story story;

    names_install();
    names_answer("name", 0, "127.0.0.1");
    begin(&story);
    story.task = qio_channel_socket_connect_task(ioc, addr, NULL, story.ctx, on_end, &story,
                                                 on_destroy);
    CHECK_PTR(qio_task_get_source(story.task), ==, ioc);
    CHECK_INT(qio_channel_get_fd((QIOChannel *)ioc, NULL), ==, -1);
    dispatch_to_end(&story);
    CHECK_PTR(story.err, ==, NULL);
    CHECK_INT(qio_channel_get_fd((QIOChannel *)ioc, NULL), >=, 0);
    end(&story);

    begin(&story);
    story.task = qio_channel_socket_connect_task(ioc, addr, NULL, story.ctx, on_end, &story,
                                                 on_destroy);
    dispatch_to_end(&story);
    check_failed(&story, QIO_ERROR_BUSY, "open already");
    end(&story);
    qio_address_free(addr);
    qio_object_unref(ioc);
    close(fd);
}

TEST(closing_the_channel_ends_it)
{
    uint16_t port = 0;
    QIOAddress *addr;
    Hole hole;

    hole_open(&hole, "127.0.0.1", &port);
    addr = qio_address_new_inet("127.0.0.1", port);
    for (int dispatches = 0; dispatches < 2; dispatches++) {
        QIOChannelSocket *ioc = qio_channel_socket_new();
        Story story;

        begin(&story);
        story.task = qio_channel_socket_connect_task(ioc, addr, NULL, story.ctx, on_end, &story,
                                                     on_destroy);
        if (dispatches > 0) {
            qio_aio_context_dispatch(story.ctx, 0, NULL);
        }
        CHECK_INT(qio_channel_close((QIOChannel *)ioc, NULL), ==, 0);
        dispatch_to_end(&story);
        CHECK_INT(qio_error_get_code(story.err), ==, QIO_ERROR_CANCELLED);
        end(&story);

        begin(&story);
        story.task = qio_channel_socket_connect_task(ioc, addr, NULL, story.ctx, on_end, &story,
                                                     on_destroy);
        dispatch_to_end(&story);
        CHECK_INT(qio_error_get_code(story.err), ==, QIO_ERROR_CLOSED);
        end(&story);
        qio_object_unref(ioc);
    }
    qio_address_free(addr);
    hole_close(&hole);
}

TEST(many_at_once)
{
    uint16_t port = 0;
    int fd = listen_at_port("127.0.0.1", &port, 200);
    QIOAddress *addr = qio_address_new_inet("name", port);
    QIOChannelSocket *channels[100];
    Story stories[100];
    AioContext *ctx = new_loop();
    int left = 100;

    names_install();
    names_answer("name", 0, "127.0.0.1");
    for (int i = 0; i < 100; i++) {
        channels[i] = qio_channel_socket_new();
        stories[i] = (Story) { .ctx = ctx };
        qio_channel_socket_connect_async(channels[i], addr, on_end, &stories[i], on_destroy, ctx);
    }
    while (left > 0) {
        qio_aio_context_dispatch(ctx, -1, NULL);
        left = 0;
        for (int i = 0; i < 100; i++) {
            left += stories[i].destroyed == 0;
        }
    }
    CHECK_INT(seam_hits(SEAM_pthread_create), >=, 1);
    for (int i = 0; i < 100; i++) {
        CHECK_PTR(stories[i].err, ==, NULL);
        CHECK_INT(qio_channel_get_fd((QIOChannel *)channels[i], NULL), >=, 0);
        qio_object_unref(channels[i]);
    }
    qio_address_free(addr);
    qio_aio_context_unref(ctx);
    close(fd);
}

TEST(null_addresses)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();

    for (int i = 0; i < 3; i++) {
        Story story;

        begin(&story);
        story.task = i == 0
            ? qio_channel_socket_connect_task(ioc, NULL, NULL, story.ctx, on_end, &story,
                                              on_destroy)
            : i == 1 ? qio_channel_socket_listen_task(ioc, NULL, 1, NULL, story.ctx, on_end,
                                                      &story, on_destroy)
                     : qio_dns_resolver_lookup_task(qio_dns_resolver_get_instance(), NULL, NULL,
                                                    story.ctx, on_end, &story, on_destroy);
        dispatch_to_end(&story);
        check_failed(&story, QIO_ERROR_INVAL, "NULL");
        end(&story);
    }
    qio_object_unref(ioc);
}

/* ---- listening ---- */

TEST(listening_in_a_loop)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr = qio_address_new_inet("name", 0), *chosen;
    Story story;

    names_install();
    names_answer("name", 0, "127.0.0.2 127.0.0.1");
    begin(&story);
    story.task = qio_channel_socket_listen_task(ioc, addr, 5, NULL, story.ctx, on_end, &story,
                                                on_destroy);
    dispatch_to_end(&story);
    CHECK_PTR(story.err, ==, NULL);
    CHECK(qio_channel_has_feature((QIOChannel *)ioc, QIO_CHANNEL_FEATURE_LISTEN));
    chosen = qio_channel_socket_get_local_address(ioc, NULL);
    CHECK_STR(chosen->host, "127.0.0.2");
    qio_address_free(chosen);
    end(&story);
    begin(&story);
    qio_channel_socket_listen_async(ioc, addr, 0, on_end, &story, on_destroy, story.ctx);
    dispatch_to_end(&story);
    CHECK(story.err != NULL);
    end(&story);
    qio_address_free(addr);
    qio_object_unref(ioc);
}

/* ---- looking up ---- */

static void check_addresses(size_t count, QIOAddress **addrs, const char *expected)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < count; i++) {
        char *one = qio_address_format(addrs[i]);

        g_string_append_printf(text, "%s%s", i > 0 ? " " : "", one);
        g_free(one);
        qio_address_free(addrs[i]);
    }
    CHECK_STR(text->str, expected);
    g_string_free(text, TRUE);
    g_free(addrs);
}

static void look_up_in_loop(const char *uri, const char *expected)
{
    QIODNSResolver *resolver = qio_dns_resolver_get_instance();
    QIOAddress *addr = qio_address_parse(uri, NULL);
    QIOAddress **addrs;
    size_t count;
    Story story;

    begin(&story);
    story.task = qio_dns_resolver_lookup_task(resolver, addr, NULL, story.ctx, on_end, &story,
                                              on_destroy);
    CHECK_PTR(qio_task_get_source(story.task), ==, resolver);
    dispatch_to_end(&story);
    qio_dns_resolver_lookup_result(resolver, story.task, &count, &addrs);
    check_addresses(count, addrs, expected);
    qio_dns_resolver_lookup_result(resolver, story.task, &count, &addrs);
    CHECK_INT(count, ==, 0);
    CHECK_PTR(addrs, ==, NULL);
    end(&story);
    qio_address_free(addr);
}

TEST(the_resolver)
{
    QIODNSResolver *resolver = qio_dns_resolver_get_instance();
    QIOAddress *name = qio_address_new_inet("name", 80), *other = qio_address_new_inet("none", 1);
    guint refs = ((GObject *)resolver)->ref_count;
    QIOAddress **addrs;
    size_t count;
    Error *err = NULL;

    names_install();
    names_answer("name", 0, "::1 127.0.0.1");
    CHECK_INT(qio_dns_resolver_lookup_sync(resolver, name, &count, &addrs, NULL), ==, 0);
    check_addresses(count, addrs, "tcp://[::1]:80 tcp://127.0.0.1:80");
    CHECK_INT(qio_dns_resolver_lookup_sync(resolver, other, &count, &addrs, &err), ==, -1);
    CHECK_INT(qio_error_get_number(err), ==, EAI_NONAME);
    qio_error_free(err);
    look_up_in_loop("tcp://name:80", "tcp://[::1]:80 tcp://127.0.0.1:80");
    names_install();
    look_up_in_loop("tcp://127.0.0.1:80", "tcp://127.0.0.1:80");
    look_up_in_loop("unix:/a", "unix:/a");
    CHECK_PTR(qio_dns_resolver_get_instance(), ==, resolver);
    CHECK_INT(((GObject *)resolver)->ref_count, ==, refs);
    qio_address_free(name);
    qio_address_free(other);
}
