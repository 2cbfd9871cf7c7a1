/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-tls.c: every system call under TLS fails in turn.
 *
 * Owns: the scenarios; torture-util.h has their rules.  Both ends are ours and in one thread, so
 * that what one end lost the other one waits for on the test clock, which makes it a time-out.
 * GnuTLS's own calls do not go through the seam, and it makes none on the transport.
 */
#include "testclock.h"
#include "tls-pair.h"
#include "torture-util.h"

typedef struct Ends {
    QIOChannel *client, *server;
} Ends;

static QIOTlsCreds *make_creds(const char *text, bool server)
{
    QIOOptions *options = tls_options(text);
    Error *err = NULL;
    QIOTlsCreds *creds = qio_tls_creds_new(options, server, &err);

    went_well(creds != NULL, &err);
    qio_options_free(options);
    return creds;
}

/* Over a pair of sockets, each end with its own file of keys.  Returns false when one failed. */
static bool make_ends(Ends *ends)
{
    QIOTlsCreds *client = make_creds("tls-psk-file=@keys.psk", false);
    QIOTlsCreds *server = make_creds("tls-psk-file=@keys.psk", true);
    QIOChannelSocket *a, *b;
    Error *err = NULL;

    *ends = (Ends){ NULL, NULL };
    if (client && server && went_well(qio_channel_socket_new_pair(&a, &b, &err) == 0, &err)) {
        ends->client = (QIOChannel *)qio_channel_tls_new_client(QIO_CHANNEL(a), client, NULL, &err);
        went_well(ends->client != NULL, &err);
        ends->server = (QIOChannel *)qio_channel_tls_new_server(QIO_CHANNEL(b), server, NULL, &err);
        went_well(ends->server != NULL, &err);
        qio_object_unref(a);
        qio_object_unref(b);
    }
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
    return ends->client && ends->server;
}

static bool is_open(QIOChannel *ioc)
{
    return qio_channel_tls_get_str(QIO_CHANNEL_TLS(ioc), "version", NULL, 0, NULL) > 0;
}

/* By reading, as a program would that knows of no handshake: under the deadline. */
static bool shake_hands(Ends *ends)
{
    Error *err = NULL;
    char byte;

    for (int i = 0; i < 1000; i++) {
        ssize_t c = qio_channel_try_read(ends->client, &byte, 1, &err);
        ssize_t s;

        if (!went_well(c == QIO_CHANNEL_ERR_BLOCK, &err)) {
            return false;
        }
        s = qio_channel_try_read(ends->server, &byte, 1, &err);
        if (!went_well(s == QIO_CHANNEL_ERR_BLOCK, &err)) {
            return false;
        }
        if (is_open(ends->client) && is_open(ends->server)) {
            return true;
        }
    }
    return went_well(false, &err);
}

static bool carry(QIOChannel *from, QIOChannel *to)
{
    Error *err = NULL;
    char buf[TEXT_LEN];

    qio_channel_set_timeout(to, 1000);
    if (!went_well(qio_channel_write_all(from, TEXT, TEXT_LEN, &err) == 0, &err) ||
        !went_well(qio_channel_flush(from, &err) == 0, &err) ||
        !went_well(qio_channel_read_all(to, buf, TEXT_LEN, &err) == 0, &err)) {
        return false;
    }
    CHECK_MEM(buf, TEXT, TEXT_LEN);
    return true;
}

static void talk(void)
{
    Ends ends;

    if (make_ends(&ends) && shake_hands(&ends) && carry(ends.client, ends.server)) {
        carry(ends.server, ends.client);
    }
    put_away(ends.client);
    put_away(ends.server);
}

/* One end says bye, and the other one hears it. */
static void part(void)
{
    Error *err = NULL;
    char byte;
    Ends ends;

    if (make_ends(&ends) && shake_hands(&ends)) {
        int ret = QIO_CHANNEL_GET_CLASS(ends.client)->io_bye(ends.client, &err);

        qio_channel_set_timeout(ends.server, 1000);
        if (went_well(ret != -1, &err) &&
            went_well(qio_channel_flush(ends.client, &err) == 0, &err) &&
            went_well(qio_channel_read(ends.server, &byte, 1, &err) == 0, &err) &&
            went_well(qio_channel_bye(ends.server, 1000, false, &err) == 0, &err)) {
            went_well(qio_channel_bye(ends.client, 1000, false, &err) == 0, &err);
        }
    }
    put_away(ends.client);
    put_away(ends.server);
}

/* Certificates: authority, list, certificate, key. */
static void read_certificates(void)
{
    for (int server = 0; server < 2; server++) {
        qio_tls_creds_unref(make_creds("tls-dir=@good", server));
    }
}

static void on_test_clock(void (*scenario)(void), int at_least)
{
    testclock_install();
    torture(scenario, at_least);
    testclock_remove();
}

TEST(torture_of_talking, .timeout_s = 110)
{
    on_test_clock(talk, 150);
}

TEST(torture_of_parting, .timeout_s = 110)
{
    on_test_clock(part, 150);
}

TEST(torture_of_certificates, .timeout_s = 60)
{
    on_test_clock(read_certificates, 50);
}
