/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls-stream.c: TLS over a transport that is slow, whimsical, cut or spoiled.
 *
 * Owns: the promises that bytes are neither lost nor repeated nor made up, however the transport
 * cuts them, and that an end is only an end when the peer has said so.
 */
#include <poll.h>
#include "tls-pair.h"
#include "wire.h"

static const char *const psk = "tls-psk-file=@keys.psk";
static const char *const psk_12 =
    "tls-psk-file=@keys.psk;tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2";

static Wire *wire(TlsPair *two, int end)
{
    return (Wire *)two->below[end];
}

/* Reads until something else than bytes comes; appends to got.  Returns that result. */
static ssize_t read_on(QIOChannel *ioc, GByteArray *got, Error **errp)
{
    char buf[700];
    ssize_t n;

    while ((n = qio_channel_try_read(ioc, buf, sizeof(buf), errp)) > 0) {
        if (got) {
            g_byte_array_append(got, (guint8 *)buf, (guint)n);
        }
    }
    return n;
}

/* A conversation whose server says three things and ends in order; the client's input is cut after
 * so many bytes (-1 = not).  Returns what the client's reading ended with; *total = bytes that the
 * server sent. */
static ssize_t cut_conversation(const char *client, const char *server, gint64 cut,
                                const char *options, gsize *total, Error **errp)
{
    static const char *const words[] = { "first", "the second one", "third" };
    GByteArray *got = g_byte_array_new();
    Error *ignored = NULL;
    TlsPair two;
    ssize_t n;

    tls_pair_on(&two, wire_pair, client, server, options, NULL);
    wire(&two, 0)->cut = cut;
    if (tls_shake(&two, errp, &ignored) == 0) {
        for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
            qio_channel_try_write(two.server, words[i], strlen(words[i]), NULL);
        }
        qio_channel_close(two.server, NULL);
        n = read_on(two.client, got, errp);
        CHECK_INT(got->len, <=, 24);
        CHECK_MEM(got->data, "firstthe second onethird", got->len);
        if (n == 0) {
            CHECK_INT(got->len, ==, 24);
        }
    } else {
        /* The client may be done while the server is not; neither may have an end. */
        n = read_on(two.client, NULL, *errp ? NULL : errp);
    }
    *total = wire(&two, 0)->arrived;
    qio_error_free(ignored);
    g_byte_array_unref(got);
    tls_drop(&two);
    return n;
}

static void cut_everywhere(const char *client, const char *server, const char *options)
{
    Error *err = NULL;
    gsize total, unused;

    CHECK_INT(cut_conversation(client, server, -1, options, &total, &err), ==, 0);
    CHECK_INT(total, >, 200);
    for (gsize cut = 0; cut < total; cut++) {
        test_note("%s cut after %zu of %zu bytes", client, cut, total);
        CHECK_INT(cut_conversation(client, server, (gint64)cut, options, &unused, &err), ==, -1);
        CHECK_STR_HAS(qio_error_get_pretty(err), "ended without its close_notify");
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TLS_TRUNCATED);
        g_clear_pointer(&err, qio_error_free);
    }
    CHECK_INT(cut_conversation(client, server, (gint64)total, options, &unused, &err), ==, 0);
    CHECK_PTR(err, ==, NULL);
}

TEST(cut_at_every_byte_with_a_shared_key, .timeout_s = 60)
{
    cut_everywhere(psk, psk, NULL);
}

TEST(cut_at_every_byte_in_tls_1_2, .timeout_s = 60)
{
    cut_everywhere(psk, psk_12, NULL);
}

/* Signatures of this kind of key are all of one length. */
TEST(cut_at_every_byte_with_certificates, .timeout_s = 100)
{
    cut_everywhere("tls-ca=@ed/ca-cert.pem", "tls-dir=@ed;tls-verify=off",
                   "tls-hostname=server.example;tls-resume=off");
}

/* Only where it was asked for, and not in the middle of a handshake. */
TEST(relaxed_takes_any_end_for_one)
{
    Error *err = NULL;
    gsize total, unused;

    CHECK_INT(cut_conversation(psk, psk, -1, "tls-relaxed=on", &total, &err), ==, 0);
    CHECK_INT(cut_conversation(psk, psk, 100, "tls-relaxed=on", &unused, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TLS_TRUNCATED);
    g_clear_pointer(&err, qio_error_free);
    /* Without the close_notify alone: 24 bytes of TLS 1.3. */
    CHECK_INT(cut_conversation(psk, psk, (gint64)total - 24, "tls-relaxed=on", &unused, &err), ==,
              0);
    CHECK_PTR(err, ==, NULL);
}

/* ---- a whimsical transport ---- */

typedef struct Flow {
    QIOChannel *from, *to;
    GByteArray *sent, *got;
    size_t wanted;
    int rekeys;
} Flow;

static void flow_begin(Flow *flow, QIOChannel *from, QIOChannel *to, size_t wanted)
{
    *flow = (Flow){ from, to, g_byte_array_new(), g_byte_array_new(), wanted };
}

/* Writes something new each time, also after a write that would have blocked. */
static void flow_write(Flow *flow, guint32 *seed)
{
    static const size_t sizes[] = { 1, 5, 100, 4000, 16384, 16385, 40000 };
    size_t size = sizes[wire_random(seed, G_N_ELEMENTS(sizes))];
    size_t len = MIN(size, flow->wanted - flow->sent->len);
    struct iovec iov[3];
    guint8 *bytes = g_malloc(len + 1);
    guint32 base;
    Error *err = NULL;
    ssize_t n;

    base = wire_random(seed, 256);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (guint8)(base + i * 7 + (i >> 8));
    }
    iov[0] = (struct iovec){ bytes, len / 3 };
    iov[1] = (struct iovec){ bytes + len / 3, 0 };
    iov[2] = (struct iovec){ bytes + len / 3, len - len / 3 };
    n = qio_channel_try_writev(flow->from, iov, 3, NULL, 0, &err);
    CHECK_STR(err ? qio_error_get_pretty(err) : "", "");
    CHECK(n == QIO_CHANNEL_ERR_BLOCK || (n >= 0 && (size_t)n <= len));
    if (n > 0) {
        g_byte_array_append(flow->sent, bytes, (guint)n);
    }
    g_free(bytes);
}

static void flow_read(Flow *flow, guint32 *seed)
{
    guint8 buf[20000];
    size_t half = wire_random(seed, 9000);
    struct iovec iov[2] = { { buf, half }, { buf + half, 1 + wire_random(seed, 9000) } };
    Error *err = NULL;
    ssize_t n = qio_channel_try_readv(flow->to, iov, 2, NULL, NULL, &err);

    CHECK_STR(err ? qio_error_get_pretty(err) : "", "");
    CHECK(n == QIO_CHANNEL_ERR_BLOCK || n > 0);
    if (n > 0) {
        g_byte_array_append(flow->got, buf, (guint)n);
    }
}

static bool flow_done(Flow *flow)
{
    return flow->sent->len == flow->wanted && flow->got->len == flow->wanted;
}

static void flow_end(Flow *flow)
{
    CHECK_MEM(flow->got->data, flow->sent->data, flow->wanted);
    g_byte_array_unref(flow->sent);
    g_byte_array_unref(flow->got);
}

static void whimsical(const char *client, const char *server, bool rekeys, guint32 seed)
{
    Flow flows[2];
    TlsPair two;

    tls_pair_on(&two, wire_pair, client, server, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        wire(&two, i)->whim = seed * 2 + 1 + (guint32)i;
        wire(&two, i)->in_max = 500 + wire_random(&seed, 30000);
    }
    qio_channel_set_blocking(two.client, false, NULL);
    qio_channel_set_blocking(two.server, false, NULL);
    flow_begin(&flows[0], two.client, two.server, 100000);
    flow_begin(&flows[1], two.server, two.client, 100000);
    while (!flow_done(&flows[0]) || !flow_done(&flows[1])) {
        Flow *flow = &flows[wire_random(&seed, 2)];

        switch (wire_random(&seed, 8)) {
        case 0:
            qio_channel_flush(flow->from, NULL);
            break;
        case 1:
            qio_channel_wait_timeout(flow->to, G_IO_IN, 0, NULL);
            break;
        case 2:
            /* GnuTLS as the peer takes 8 a second. */
            if (flow->rekeys < 4 && flow->sent->len > 20000u * (guint)flow->rekeys) {
                CHECK_INT(qio_channel_tls_rekey(QIO_CHANNEL_TLS(flow->from), NULL), ==,
                          rekeys ? 0 : -1);
                flow->rekeys++;
            }
            break;
        default:
            flow_write(flow, &seed);
            flow_read(flow, &seed);
        }
    }
    flow_end(&flows[0]);
    flow_end(&flows[1]);
    tls_drop(&two);
}

TEST(a_whimsical_transport_loses_and_repeats_nothing, .timeout_s = 60)
{
    for (guint32 seed = 1; seed <= 120; seed++) {
        test_note("seed %u", seed);
        whimsical(psk, seed % 3 ? psk : psk_12, seed % 3, seed);
    }
}

/* ---- spoiled bytes ---- */

TEST(a_spoiled_byte_is_an_error_and_never_data, .timeout_s = 60)
{
    GByteArray *got = g_byte_array_new();

    for (int at = 0; at < 900; at += 7) {
        Error *client_err = NULL, *server_err = NULL;
        TlsPair two;

        test_note("byte %d", at);
        tls_pair_on(&two, wire_pair, psk, psk, NULL, NULL);
        wire(&two, 0)->spoil_at = at;
        if (tls_shake(&two, &client_err, &server_err) == 0) {
            for (int i = 0; i < 40; i++) {
                CHECK_INT(qio_channel_try_write(two.server, "12345678", 8, NULL), ==, 8);
            }
            /* A length that has grown waits for more. */
            qio_channel_shutdown(two.below[1], QIO_CHANNEL_SHUTDOWN_WRITE, NULL);
            g_byte_array_set_size(got, 0);
            CHECK_INT(read_on(two.client, got, &client_err), ==, -1);
            CHECK_INT(got->len % 8, ==, 0);
            for (guint i = 0; i < got->len; i += 8) {
                CHECK_MEM(got->data + i, "12345678", 8);
            }
        }
        CHECK(client_err || server_err);
        qio_error_free(client_err);
        qio_error_free(server_err);
        tls_drop(&two);
    }
    g_byte_array_unref(got);
}

/* ---- what was read ahead ---- */

TEST(a_hello_that_was_read_ahead_begins_the_handshake)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    Error *err = NULL;
    TlsPair two;
    char line[32];

    pair(&two.below[0], &two.below[1]);
    CHECK_INT(qio_channel_write_all(two.below[0], "STARTTLS\n", 9, NULL), ==, 0);
    two.client = (QIOChannel *)qio_channel_tls_new_client(two.below[0], client, "server.example",
                                                          &err);
    CHECK_INT(qio_channel_try_read(two.client, line, 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    /* Line and hello are in one read of the server. */
    CHECK_INT(qio_channel_read_until(two.below[1], line, sizeof(line),
                                     &(struct iovec){ "\n", 1 }, 1, 1000, &err), ==, 9);
    CHECK_INT(qio_channel_get_pending(two.below[1]), >, 0);
    two.server = (QIOChannel *)qio_channel_tls_new_server(two.below[1], server, NULL, &err);
    tls_shake_well(&two);
    tls_send(two.client, two.server, 100);
    tls_drop(&two);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

TEST(plain_text_that_was_read_ahead_is_never_data)
{
    static const char *const injected[] = { "RCPT TO:<x>\n", "\x16\x03\x01\x00\x05hello", "\n" };

    for (size_t i = 0; i < G_N_ELEMENTS(injected); i++) {
        QIOTlsCreds *creds = tls_creds(NULL, true);
        QIOChannel *a, *b, *server;
        Error *err = NULL;
        char line[32];

        pair(&a, &b);
        CHECK_INT(qio_channel_write_all(a, "STARTTLS\n", 9, NULL), ==, 0);
        CHECK_INT(qio_channel_write_all(a, injected[i], strlen(injected[i]), NULL), ==, 0);
        CHECK_INT(qio_channel_read_until(b, line, sizeof(line), &(struct iovec){ "\n", 1 }, 1,
                                         1000, &err), ==, 9);
        server = (QIOChannel *)qio_channel_tls_new_server(b, creds, NULL, &err);
        CHECK_PTR(server, !=, NULL);
        qio_channel_shutdown(a, QIO_CHANNEL_SHUTDOWN_WRITE, NULL);
        CHECK_INT(qio_channel_read(server, line, sizeof(line), &err), ==, -1);
        CHECK(qio_error_get_code(err) == QIO_ERROR_TLS ||
              qio_error_get_code(err) == QIO_ERROR_TLS_TRUNCATED);
        qio_error_free(err);
        qio_object_unref(server);
        drop(a, b);
        qio_tls_creds_unref(creds);
    }
}

/* A transport that takes nothing: at most a record is accepted. */
TEST(what_is_accepted_and_not_sent_is_bounded)
{
    char *bytes = g_malloc0(1 << 20);
    Error *err = NULL;
    TlsPair two;

    tls_pair_on(&two, wire_pair, psk, psk, NULL, NULL);
    tls_shake_well(&two);
    wire(&two, 1)->in_max = 1;
    CHECK_INT(qio_channel_try_write(two.client, bytes, 1 << 20, &err), ==, 16384);
    CHECK_INT(qio_channel_try_write(two.client, bytes, 1 << 20, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_wait_timeout(two.client, G_IO_OUT, 0, &err), ==, 0);
    /* What could not be sent is not lost in silence. */
    CHECK_INT(qio_channel_close(two.client, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "flush before");
    qio_error_free(err);
    g_free(bytes);
    tls_drop(&two);
}

/* A writer finds records held; before it asks what to wait for another thread has sent all. */
TEST(records_sent_by_another_wake_the_writer)
{
    g_autofree char *bytes = g_malloc0(100000);
    QIOPollFd named[4];
    struct pollfd waits = { 0 };
    QIOChannelClass *klass;
    TlsPair two;
    int fd;

    tls_pair(&two, psk, psk, NULL, NULL);
    tls_shake_well(&two);
    klass = QIO_CHANNEL_GET_CLASS(two.client);
    fd = fd_of(qio_channel_get_transport(two.server));
    while (qio_channel_try_write(two.client, bytes, 100000, NULL) > 0) {
    }
    CHECK_INT(klass->io_advance(two.client, G_IO_OUT), ==, 0);
    while (klass->io_flush(two.client, NULL) == QIO_CHANNEL_ERR_BLOCK) {
        CHECK_INT(read(fd, bytes, 100000), >, 0);
    }
    CHECK_INT(klass->io_poll(two.client, G_IO_OUT, named, 4), ==, 1);
    waits.fd = named[0].fd;
    waits.events = (short)named[0].events;
    while (recv(fd, bytes, 100000, MSG_DONTWAIT) > 0) {
    }
    CHECK_INT(poll(&waits, 1, 0), ==, 1);
    tls_drop(&two);
}
