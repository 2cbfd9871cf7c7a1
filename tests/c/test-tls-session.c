/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls-session.c: what is agreed in a session, what is known of it, and odd peers.
 *
 * Owns: protocols, tickets, ciphers, exported keys, and peers that are GnuTLS by hand: those that
 * want to renegotiate, warn without end, or send records without data.
 */
#include "tls-pair.h"

#include <fcntl.h>

/* ---- protocols ---- */

TEST(the_server_chooses_the_protocol)
{
    static const struct {
        const char *client, *server, *agreed;
    } rows[] = {
        { "tls-alpn=h2;tls-alpn=nbd", "tls-alpn=nbd;tls-alpn=h2", "nbd" },
        { "tls-alpn=h2", "tls-alpn=h2", "h2" },
        { "tls-alpn=h2", "", "" },
        { "", "tls-alpn=h2", "" },
        { "", "", "" },
        { "tls-alpn=h2", "tls-alpn=nbd", NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        char *options = g_strconcat("tls-hostname=server.example;", rows[i].client, NULL);
        Error *client_err = NULL, *server_err = NULL;
        TlsPair two;
        char buf[256];

        test_note("%s with %s", rows[i].client, rows[i].server);
        tls_pair(&two, NULL, NULL, options, rows[i].server);
        if (rows[i].agreed) {
            tls_shake_well(&two);
            CHECK_STR(tls_str(two.client, "alpn", buf), rows[i].agreed);
            CHECK_STR(tls_str(two.server, "alpn", buf), rows[i].agreed);
        } else {
            CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
            CHECK_INT(qio_error_get_number(client_err), ==, 120);
        }
        qio_error_free(client_err);
        qio_error_free(server_err);
        tls_drop(&two);
        g_free(options);
    }
}

TEST(what_makes_no_channel)
{
    static const struct {
        const char *options, *says;
    } rows[] = {
        { "tls-alpn=", "1 to 32 bytes" },
        { "tls-alpn=123456789012345678901234567890123", "1 to 32 bytes" },
        { "tls-alpn=1;tls-alpn=2;tls-alpn=3;tls-alpn=4;tls-alpn=5;tls-alpn=6;tls-alpn=7;"
          "tls-alpn=8;tls-alpn=9", "at most 8" },
        { "tls-hostname=", "tls-hostname" },
        { "tls-hostname=.example", "tls-hostname" },
        { "tls-hostname=a..example", "tls-hostname" },
        { "tls-acl=*", "for servers" },
    };
    QIOTlsCreds *creds = tls_creds(NULL, false);
    QIOChannel *a, *b;

    pair(&a, &b);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIOOptions *options = tls_options(rows[i].options);
        Error *err = NULL;

        test_note("%s", rows[i].options);
        CHECK_PTR(qio_channel_tls_new_options(a, creds, options, false, &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].says);
        qio_error_free(err);
        qio_options_free(options);
    }
    CHECK_PTR(qio_channel_tls_new_options(a, creds, NULL, true, NULL), ==, NULL);
    CHECK_PTR(qio_channel_tls_new_server(a, creds, NULL, NULL), ==, NULL);
    CHECK_PTR(qio_channel_tls_new_client(a, NULL, "x", NULL), ==, NULL);
    qio_tls_creds_unref(creds);
    drop(a, b);
}

/* ---- tickets ---- */

static bool second_is_resumed(const char *version, const char *client_options,
                              const char *server_options, bool other_server)
{
    char *server_text = g_strconcat("tls-dir=@good", version, NULL);
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(server_text, true);
    bool resumed = false;
    TlsPair two;
    char buf[256];

    for (int i = 0; i < 2; i++) {
        tls_pair_creds(&two, pair, client, server, client_options, server_options);
        tls_shake_well(&two);
        /* In TLS 1.3 the ticket comes with the first data. */
        tls_send(two.server, two.client, 1);
        resumed = strcmp(tls_str(two.client, "resumed", buf), "on") == 0;
        CHECK_STR(tls_str(two.server, "resumed", buf), resumed ? "on" : "off");
        CHECK(i > 0 || !resumed);
        CHECK_STR(tls_str(two.server, "peer-name", buf), "CN=a client,O=Tests,C=XX");
        CHECK_INT(qio_channel_tls_get_peer_certificate(QIO_CHANNEL_TLS(two.client), 0, NULL, 0,
                                                       NULL), >, 300);
        tls_drop(&two);
        if (other_server) {
            qio_tls_creds_unref(server);
            server = tls_creds(server_text, true);
        }
    }
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
    g_free(server_text);
    return resumed;
}

TEST(sessions_are_resumed_unless_somebody_objects)
{
    const char *v12 = ";tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2";
    const char *host = "tls-hostname=server.example";

    CHECK(second_is_resumed("", host, "", false));
    CHECK(second_is_resumed(v12, host, "", false));
    CHECK(!second_is_resumed("", "tls-hostname=server.example;tls-resume=off", "", false));
    CHECK(!second_is_resumed(v12, "tls-hostname=server.example;tls-resume=off", "", false));
    CHECK(!second_is_resumed("", host, "tls-resume=off", false));
    CHECK(!second_is_resumed(v12, host, "tls-resume=off", false));
    CHECK(!second_is_resumed("", host, "", true));
    CHECK(!second_is_resumed(v12, host, "", true));
}

/* A ticket of one host is not shown to another. */
TEST(a_ticket_is_for_its_host)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    const char *hosts[] = { "tls-hostname=server.example", "tls-hostname=a.wild.example" };
    TlsPair two;
    char buf[256];

    for (int i = 0; i < 2; i++) {
        tls_pair_creds(&two, pair, client, server, hosts[i], NULL);
        tls_shake_well(&two);
        tls_send(two.server, two.client, 1);
        CHECK_STR(tls_str(two.client, "resumed", buf), "off");
        tls_drop(&two);
    }
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

/* A client that never reads has its ticket too, when it closes. */
TEST(a_ticket_is_taken_at_the_end)
{
    QIOTlsCreds *client = tls_creds(NULL, false), *server = tls_creds(NULL, true);
    TlsPair two;
    char buf[256];

    for (int i = 0; i < 2; i++) {
        tls_pair_creds(&two, pair, client, server, "tls-hostname=server.example", NULL);
        tls_shake_well(&two);
        CHECK_STR(tls_str(two.client, "resumed", buf), i > 0 ? "on" : "off");
        CHECK_INT(qio_channel_close(two.client, NULL), ==, 0);
        tls_drop(&two);
    }
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

/* ---- what is known ---- */

TEST(what_is_known_of_a_session)
{
    uint8_t one[32], two_[32], der[4096];
    Error *err = NULL;
    ssize_t len;
    TlsPair two;
    char buf[256];

    tls_pair(&two, NULL, NULL, NULL, NULL);
    CHECK_INT(qio_channel_tls_get_str(QIO_CHANNEL_TLS(two.client), "version", buf, 256, &err), ==,
              -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    tls_shake_well(&two);
    CHECK_STR(tls_str(two.client, "version", buf), "TLS1.3");
    CHECK_STR_HAS(tls_str(two.client, "cipher", buf), "AES-");
    CHECK_STR_HAS(tls_str(two.client, "suite", buf), "AES_");
    CHECK_STR_HAS(tls_str(two.client, "group", buf), "256");
    CHECK_STR(tls_str(two.client, "hostname", buf), "server.example");
    CHECK_STR(tls_str(two.server, "hostname", buf), "server.example");
    CHECK_STR_HAS(tls_str(two.client, "peer-name", buf), "CN=server.example");
    CHECK_INT(qio_channel_tls_get_str(QIO_CHANNEL_TLS(two.client), "version", NULL, 0, NULL), ==,
              6);
    CHECK_INT(qio_channel_tls_get_str(QIO_CHANNEL_TLS(two.client), "version", buf, 6, &err), ==,
              -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TRUNCATED);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_tls_get_str(QIO_CHANNEL_TLS(two.client), "verson", buf, 6, &err), ==,
              -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "the nearest is \"version\"");
    g_clear_pointer(&err, qio_error_free);
    len = qio_channel_tls_get_peer_certificate(QIO_CHANNEL_TLS(two.client), 0, der, sizeof(der),
                                               NULL);
    CHECK_INT(len, >, 300);
    CHECK_INT(der[0], ==, 0x30);
    CHECK_INT(qio_channel_tls_get_peer_certificate(QIO_CHANNEL_TLS(two.client), 7, der,
                                                   sizeof(der), NULL), ==, 0);
    CHECK_INT(qio_channel_tls_export(QIO_CHANNEL_TLS(two.client), "EXPERIMENTAL x", "c", 1, one,
                                     32, NULL), ==, 0);
    CHECK_INT(qio_channel_tls_export(QIO_CHANNEL_TLS(two.server), "EXPERIMENTAL x", "c", 1, two_,
                                     32, NULL), ==, 0);
    CHECK_MEM(one, two_, 32);
    CHECK_INT(qio_channel_tls_export(QIO_CHANNEL_TLS(two.server), "EXPERIMENTAL y", "c", 1, two_,
                                     32, NULL), ==, 0);
    CHECK(memcmp(one, two_, 32) != 0);
    /* Also after close. */
    CHECK_INT(qio_channel_close(two.client, NULL), ==, 0);
    CHECK_STR(tls_str(two.client, "version", buf), "TLS1.3");
    CHECK_INT(qio_channel_get_fd(two.server, &err), ==, -1);
    qio_error_free(err);
    CHECK(!qio_channel_has_feature(two.server, QIO_CHANNEL_FEATURE_FD_PASS));
    tls_drop(&two);
}

/* On a processor with AES the slow cipher is not chosen, and taken from who has no other. */
TEST(the_cipher_of_choice)
{
    static const struct {
        const char *client, *cipher;
    } rows[] = {
        { "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305:+AES-128-GCM", "AES-128-GCM" },
        { "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305", "CHACHA20-POLY1305" },
    };

#if defined(__x86_64__)
    if (!__builtin_cpu_supports("aes")) {
        test_skip("this processor has no AES");
    }
#endif
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        char *client = g_strconcat("tls-dir=@good;tls-priority=", rows[i].client, NULL);
        TlsPair two;
        char buf[256];

        tls_pair(&two, client, NULL, NULL, NULL);
        tls_shake_well(&two);
        CHECK_STR(tls_str(two.server, "cipher", buf), rows[i].cipher);
        tls_drop(&two);
        g_free(client);
    }
}

TEST(old_versions_are_refused)
{
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;

    tls_pair(&two, "tls-dir=@good;tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.1", NULL, NULL, NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    CHECK_INT(qio_error_get_number(client_err), ==, 70);
    qio_error_free(client_err);
    qio_error_free(server_err);
    tls_drop(&two);
}

/* ---- watches ---- */

static gboolean read_a_byte(QIOChannel *ioc, GIOCondition condition, gpointer data)
{
    char byte;

    CHECK_INT(qio_channel_try_read(ioc, &byte, 1, NULL), ==, 1);
    return ++*(int *)data < 100;
}

/* One record, and nothing more from the transport. */
TEST(a_watch_sees_what_is_decrypted)
{
    AioContext *ctx = qio_aio_context_new(NULL);
    GMainContext *main = g_main_context_new();
    QIOLoopWatch *watch;
    int calls = 0;
    TlsPair two;
    char record[100] = { 0 };
    GSource *source;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    watch = qio_channel_add_aio_watch(two.client, ctx, G_IO_IN, read_a_byte, &calls, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        qio_aio_context_poll(ctx, false);
    }
    CHECK_INT(calls, ==, 0);
    CHECK_INT(qio_channel_write(two.server, record, 100, NULL), ==, 100);
    while (calls < 100) {
        CHECK(qio_aio_context_poll(ctx, false));
    }
    qio_loop_watch_unref(watch);

    calls = 0;
    source = qio_channel_add_watch_source(two.client, G_IO_IN, read_a_byte, &calls, NULL, main);
    CHECK_INT(qio_channel_write(two.server, record, 100, NULL), ==, 100);
    while (calls < 100) {
        CHECK(g_main_context_iteration(main, FALSE));
    }
    g_source_unref(source);
    tls_drop(&two);
    qio_aio_context_unref(ctx);
    g_main_context_unref(main);
}

/* ---- TLS in TLS ---- */

TEST(tls_in_tls)
{
    QIOTlsCreds *client = tls_creds("tls-psk-file=@keys.psk", false);
    QIOTlsCreds *server = tls_creds("tls-psk-file=@keys.psk", true);
    TlsPair outer, inner;

    tls_pair(&outer, NULL, NULL, NULL, NULL);
    inner.below[0] = qio_object_ref(outer.client);
    inner.below[1] = qio_object_ref(outer.server);
    inner.client = (QIOChannel *)qio_channel_tls_new_client(outer.client, client, NULL, NULL);
    inner.server = (QIOChannel *)qio_channel_tls_new_server(outer.server, server, NULL, NULL);
    tls_shake_well(&inner);
    tls_send(inner.client, inner.server, 200000);
    tls_send(inner.server, inner.client, 200000);
    tls_drop(&inner);
    tls_drop(&outer);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

/* ---- a peer by hand ---- */

typedef struct Hand {
    gnutls_session_t session;
    gnutls_certificate_credentials_t creds;
    QIOChannel *below, *ioc;
    int fd;
} Hand;

static void hand_file(char *path, size_t cap, const char *name)
{
    g_snprintf(path, cap, "%s/good/%s", TLS_PKI, name);
}

/* The hand's end is a server on a descriptor of its own. */
static void hand_begin(Hand *hand, const char *priority)
{
    QIOTlsCreds *creds = tls_creds("tls-dir=@good", false);
    char cert[512], key[512];
    QIOChannel *peer;
    int ret;

    hand_file(cert, sizeof(cert), "server-cert.pem");
    hand_file(key, sizeof(key), "server-key.pem");
    pair(&hand->below, &peer);
    hand->ioc = (QIOChannel *)qio_channel_tls_new_client(hand->below, creds, "server.example",
                                                         NULL);
    qio_tls_creds_unref(creds);
    gnutls_certificate_allocate_credentials(&hand->creds);
    CHECK_INT(gnutls_certificate_set_x509_key_file(hand->creds, cert, key, GNUTLS_X509_FMT_PEM),
              >=, 0);
    gnutls_init(&hand->session, GNUTLS_SERVER | GNUTLS_NONBLOCK);
    CHECK_INT(gnutls_priority_set_direct(hand->session, priority, NULL), ==, 0);
    gnutls_credentials_set(hand->session, GNUTLS_CRD_CERTIFICATE, hand->creds);
    hand->fd = fcntl(fd_of(peer), F_DUPFD_CLOEXEC, 3);
    fcntl(hand->fd, F_SETFL, O_NONBLOCK);
    gnutls_transport_set_int(hand->session, hand->fd);
    qio_object_unref(peer);
    do {
        QIO_CHANNEL_GET_CLASS(hand->ioc)->io_handshake(hand->ioc, NULL);
        ret = gnutls_handshake(hand->session);
    } while (ret == GNUTLS_E_AGAIN);
    CHECK_INT(ret, ==, 0);
    CHECK_INT(qio_channel_handshake(hand->ioc, 1000, false, NULL), ==, 0);
}

static void hand_end(Hand *hand)
{
    close(hand->fd);
    gnutls_deinit(hand->session);
    gnutls_certificate_free_credentials(hand->creds);
    drop(hand->ioc, hand->below);
}

#define ONLY_1_2 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define ONLY_1_3 "NORMAL:-VERS-ALL:+VERS-TLS1.3"

TEST(renegotiation_is_refused)
{
    Hand hand;
    char buf[8];
    Error *err = NULL;
    ssize_t n;
    int refusals = 0;

    hand_begin(&hand, ONLY_1_2);
    CHECK_INT(gnutls_rehandshake(hand.session), ==, 0);
    CHECK_INT(gnutls_record_send(hand.session, "still", 5), ==, 5);
    CHECK_INT(qio_channel_read(hand.ioc, buf, 8, &err), ==, 5);
    CHECK_INT(gnutls_record_recv(hand.session, buf, 8), ==, GNUTLS_E_WARNING_ALERT_RECEIVED);
    CHECK_INT(gnutls_alert_get(hand.session), ==, GNUTLS_A_NO_RENEGOTIATION);
    /* Not for ever. */
    do {
        CHECK_INT(gnutls_rehandshake(hand.session), ==, 0);
        n = qio_channel_try_read(hand.ioc, buf, 8, &err);
        CHECK_INT(++refusals, <, 100);
    } while (n == QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(n, ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TLS);
    qio_error_free(err);
    hand_end(&hand);
}

TEST(warnings_without_end_are_an_error)
{
    static const char *const versions[] = { ONLY_1_2, ONLY_1_3 };

    for (int i = 0; i < 2; i++) {
        Error *err = NULL;
        int warnings = 0;
        ssize_t n;
        Hand hand;
        char byte;

        hand_begin(&hand, versions[i]);
        do {
            gnutls_alert_send(hand.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED);
            n = qio_channel_try_read(hand.ioc, &byte, 1, &err);
            CHECK_INT(++warnings, <, 100);
        } while (n == QIO_CHANNEL_ERR_BLOCK);
        CHECK_INT(n, ==, -1);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TLS);
        qio_error_free(err);
        hand_end(&hand);
    }
}

/* What a read may not take for the end. */
TEST(records_without_data_are_no_end)
{
    Error *err = NULL;
    ssize_t n;
    Hand hand;
    char buf[8];

    hand_begin(&hand, ONLY_1_3);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(gnutls_record_send2(hand.session, "", 0, 100, 0), >=, 0);
    }
    n = qio_channel_try_read(hand.ioc, buf, 8, &err);
    CHECK_INT(n, ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(gnutls_record_send(hand.session, "data", 4), ==, 4);
    CHECK_INT(qio_channel_read(hand.ioc, buf, 8, &err), ==, 4);
    hand_end(&hand);
}

TEST(an_alert_keeps_its_number)
{
    Error *err = NULL;
    Hand hand;
    char byte;

    hand_begin(&hand, ONLY_1_3);
    gnutls_alert_send(hand.session, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR);
    CHECK_INT(qio_channel_read(hand.ioc, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_domain(err), ==, QIO_ERROR_DOMAIN_TLS);
    CHECK_INT(qio_error_get_number(err), ==, GNUTLS_A_INTERNAL_ERROR);
    qio_error_free(err);
    hand_end(&hand);
}

/* A wish for new keys is answered with the next data, and is no end. */
TEST(a_peer_may_ask_for_new_keys)
{
    Error *err = NULL;
    Hand hand;
    char buf[8];

    hand_begin(&hand, ONLY_1_3);
    CHECK_INT(gnutls_session_key_update(hand.session, GNUTLS_KU_PEER), ==, 0);
    CHECK_INT(qio_channel_try_read(hand.ioc, buf, 8, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_write(hand.ioc, "mine", 4, &err), ==, 4);
    CHECK_INT(gnutls_record_recv(hand.session, buf, 8), ==, GNUTLS_E_AGAIN);
    CHECK_INT(gnutls_record_recv(hand.session, buf, 8), ==, 4);
    CHECK_INT(gnutls_record_send(hand.session, "yours", 5), ==, 5);
    CHECK_INT(qio_channel_read(hand.ioc, buf, 8, &err), ==, 5);
    hand_end(&hand);
}
