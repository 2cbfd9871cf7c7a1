/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls.c: TLS channels as a whole: each kind of credentials in each version, data, the end,
 * and what is known of a session.
 */
#include "tls-pair.h"

typedef struct Kind {
    const char *name, *client, *server, *version;
} Kind;

static const Kind kinds[] = {
    { "x509", "tls-dir=@good", "tls-dir=@good", "TLS1.3" },
    { "x509 1.2", "tls-dir=@good;tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", "tls-dir=@good",
      "TLS1.2" },
    { "psk", "tls-psk-file=@keys.psk;tls-psk-user=alice", "tls-psk-file=@keys.psk", "TLS1.3" },
    { "psk 1.2", "tls-psk-file=@keys.psk;tls-psk-user=alice",
      "tls-psk-file=@keys.psk;tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS1.2" },
    { "anon", "tls-anon=on", "tls-anon=on", "TLS1.2" },
};

TEST(each_kind_in_each_version)
{
    char buf[256];

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        TlsPair two;

        test_note("%s", kinds[i].name);
        tls_pair(&two, kinds[i].client, kinds[i].server, NULL, NULL);
        tls_shake_well(&two);
        CHECK_STR(tls_str(two.client, "version", buf), kinds[i].version);
        CHECK_STR(tls_str(two.server, "version", buf), kinds[i].version);
        tls_send(two.client, two.server, 1);
        tls_send(two.server, two.client, 1);
        tls_send(two.client, two.server, 1 << 20);
        tls_send(two.server, two.client, 1 << 20);
        tls_drop(&two);
    }
}

TEST(an_end_is_an_end_after_close)
{
    TlsPair two;
    char byte;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    CHECK_INT(qio_channel_close(two.client, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.server, &byte, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.server, &byte, 1, NULL), ==, 0);
    tls_drop(&two);
}

TEST(an_end_without_close_notify_is_truncated)
{
    TlsPair two;
    Error *err = NULL;
    char byte;

    tls_pair(&two, NULL, NULL, NULL, NULL);
    tls_shake_well(&two);
    CHECK_INT(qio_channel_shutdown(two.below[0], QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_read(two.server, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TLS_TRUNCATED);
    qio_error_free(err);
    tls_drop(&two);
}
