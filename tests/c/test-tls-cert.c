/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls-cert.c: what is found of certificates, when they are read and in a handshake.
 *
 * Owns: running the tables that tls-pki.py writes beside its certificates.  Every refusal has to
 * come before a byte can be read, and with its own number.
 */
#include "tls-pair.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Finding {
    const char *text;
    QIOTlsFault fault;
} Finding;

static const Finding findings[] = {
    { "bad", QIO_TLS_CERT_BAD }, { "missing", QIO_TLS_CERT_MISSING },
    { "untrusted", QIO_TLS_CERT_UNTRUSTED }, { "expired", QIO_TLS_CERT_EXPIRED },
    { "not-yet", QIO_TLS_CERT_NOT_YET_VALID }, { "revoked", QIO_TLS_CERT_REVOKED },
    { "name", QIO_TLS_CERT_WRONG_NAME }, { "usage", QIO_TLS_CERT_USAGE },
    { "weak", QIO_TLS_CERT_WEAK }, { "refused", QIO_TLS_CERT_REFUSED },
};

/* What an error is in the words of the tables. */
static const char *finding_of(const Error *err)
{
    if (!err) {
        return "ok";
    }
    if (qio_error_get_code(err) != QIO_ERROR_TLS) {
        return qio_error_get_pretty(err);
    }
    if (qio_error_get_number(err) < 256) {
        return "alert";
    }
    for (size_t i = 0; i < G_N_ELEMENTS(findings); i++) {
        if (findings[i].fault == qio_error_get_number(err)) {
            return findings[i].text;
        }
    }
    return "unknown";
}

static void check_finding(Error *err, const char *wanted)
{
    const char *found = finding_of(err);

    if (strcmp(found, wanted) != 0) {
        test_fail(__FILE__, __LINE__, "found %s instead of %s (%s)", found, wanted,
                  qio_error_get_pretty(err));
    }
    qio_error_free(err);
}

/* The lines of a table, each split at blanks. */
static char ***read_table(const char *name)
{
    char *path = g_build_filename(TLS_PKI, name, NULL);
    char *text, **lines;
    char ***rows;
    guint count;

    CHECK(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(g_strchomp(text), "\n", -1);
    count = g_strv_length(lines);
    rows = g_new0(char **, count + 1);
    for (guint i = 0; i < count; i++) {
        rows[i] = g_strsplit(lines[i], " ", -1);
    }
    g_strfreev(lines);
    g_free(text);
    g_free(path);
    return rows;
}

static void free_table(char ***rows)
{
    for (char ***row = rows; *row; row++) {
        g_strfreev(*row);
    }
    g_free(rows);
}

/* One end has the certificate of the folder; gives what the other end finds of it. */
static Error *other_end_finds(const char *folder, bool server_has_it, const char *hostname)
{
    char *odd = g_strdup_printf("tls-dir=@%s;tls-sanity=off", folder);
    /* The revocation list of the case is for the one who looks. */
    char *looker = g_strdup_printf("tls-dir=@good;tls-crl=@%s/ca-crl.pem", folder);
    char *list = g_build_filename(TLS_PKI, folder, "ca-crl.pem", NULL);
    char *options = g_strdup_printf("tls-hostname=%s", hostname);
    bool has_list = g_file_test(list, G_FILE_TEST_EXISTS);
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;
    char byte;

    if (!has_list) {
        looker[strlen("tls-dir=@good")] = '\0';
    }
    tls_pair(&two, server_has_it ? looker : odd, server_has_it ? odd : looker, options, NULL);
    if (tls_shake(&two, &client_err, &server_err) < 0) {
        QIOChannel *refuses = server_has_it ? two.client : two.server;

        CHECK_INT(qio_channel_try_read(refuses, &byte, 1, NULL), ==, -1);
        CHECK_INT(qio_channel_try_write(refuses, &byte, 1, NULL), ==, -1);
    } else {
        tls_send(two.client, two.server, 1);
        tls_send(two.server, two.client, 1);
    }
    tls_drop(&two);
    g_free(odd);
    g_free(looker);
    g_free(list);
    g_free(options);
    qio_error_free(server_has_it ? server_err : client_err);
    return server_has_it ? client_err : server_err;
}

TEST(each_odd_certificate_in_both_roles, .timeout_s = 60)
{
    char ***rows = read_table("cases.txt");
    int count = 0;

    for (char ***row = rows; *row; row++, count++) {
        const char *name = (*row)[0], *role = (*row)[1];
        char *folder = g_strdup_printf("cases/%s-%s", name, role);
        char *creds = g_strdup_printf("tls-dir=@%s", folder);
        bool server = strcmp(role, "server") == 0;
        Error *err = tls_creds_error(creds, server);

        test_note("the own look at %s", folder);
        check_finding(err, (*row)[2]);
        err = other_end_finds(folder, server, "server.example");
        test_note("the other end's look at %s", folder);
        check_finding(err, (*row)[3]);
        g_free(folder);
        g_free(creds);
    }
    CHECK_INT(count, >=, 60);
    free_table(rows);
}

TEST(each_odd_authority)
{
    char ***rows = read_table("authorities.txt");

    for (char ***row = rows; *row; row++) {
        for (int server = 0; server < 2; server++) {
            char *creds = g_strdup_printf("tls-dir=@good;tls-ca=@authorities/%s.pem", (*row)[0]);
            Error *err = tls_creds_error(creds, server);

            test_note("authority %s, server %d", (*row)[0], server);
            check_finding(err, (*row)[1]);
            g_free(creds);
        }
    }
    free_table(rows);
}

TEST(each_name_and_host)
{
    char ***rows = read_table("hosts.txt");
    int count = 0;

    for (char ***row = rows; *row; row++) {
        char *folder = g_strdup_printf("hosts/%s", (*row)[0]);

        for (char **host = *row + 1; *host; host++, count++) {
            Error *err = other_end_finds(folder, true, *host + 1);

            test_note("%s %s", folder, *host);
            check_finding(err, **host == '+' ? "ok" : "name");
        }
        g_free(folder);
    }
    CHECK_INT(count, >=, 40);
    free_table(rows);
}

TEST(without_a_host_the_handshake_fails)
{
    TlsPair two;
    Error *client_err = NULL, *server_err = NULL;

    tls_pair(&two, NULL, NULL, "", NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(client_err), "tls-hostname");
    check_finding(client_err, "name");
    qio_error_free(server_err);
    tls_drop(&two);

    tls_pair(&two, "tls-dir=@good;tls-verify=off", NULL, "", NULL);
    tls_shake_well(&two);
    tls_drop(&two);
}

TEST(a_client_without_a_certificate)
{
    const char *alone = "tls-ca=@good/ca-cert.pem";
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;
    char byte;

    tls_pair(&two, alone, "tls-dir=@good;tls-verify=off", NULL, NULL);
    tls_shake_well(&two);
    tls_send(two.client, two.server, 10);
    tls_drop(&two);

    /* In TLS 1.3 the client is done first, and learns of it at its first read. */
    tls_pair(&two, alone, NULL, NULL, NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    check_finding(server_err, "missing");
    CHECK_PTR(client_err, ==, NULL);
    CHECK_INT(qio_channel_try_read(two.server, &byte, 1, NULL), ==, -1);
    CHECK_INT(qio_channel_read(two.client, &byte, 1, &client_err), ==, -1);
    check_finding(client_err, "alert");
    tls_drop(&two);
}

/* Verifying off on one side says nothing of the other. */
TEST(verifying_is_each_ends_own)
{
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;

    tls_pair(&two, "tls-dir=@other;tls-verify=off", NULL, NULL, NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    check_finding(server_err, "missing");
    qio_error_free(client_err);
    tls_drop(&two);

    tls_pair(&two, "tls-dir=@other;tls-verify=off", "tls-dir=@good;tls-verify=off", NULL, NULL);
    tls_shake_well(&two);
    tls_drop(&two);
}

TEST(own_material_that_is_missing_or_broken)
{
    static const struct {
        const char *creds;
        bool server;
        QIOErrorCode code;
        const char *says;
    } rows[] = {
        { "tls-dir=@nowhere", true, QIO_ERROR_TLS, "ca-cert.pem" },
        { "tls-dir=@nowhere", false, QIO_ERROR_TLS, "ca-cert.pem" },
        { "tls-ca=@nowhere.pem", false, QIO_ERROR_SYSTEM, "nowhere.pem" },
        { "tls-ca=@good", false, QIO_ERROR_INVAL, "no regular file" },
        { "tls-ca=@empty.pem", false, QIO_ERROR_INVAL, "empty.pem" },
        { "tls-ca=@garbage.pem", false, QIO_ERROR_INVAL, "garbage.pem" },
        { "tls-ca=<garbage.pem", false, QIO_ERROR_INVAL, "the bytes of tls-ca" },
        { "tls-dir=@good;tls-crl=@garbage.pem", true, QIO_ERROR_INVAL, "garbage.pem" },
        { "tls-ca=@good/ca-cert.pem", true, QIO_ERROR_TLS, "needs a certificate" },
        { "tls-cert=@good/server-cert.pem;tls-key=@good/server-key.pem", true, QIO_ERROR_TLS,
          "tls-ca" },
        { "tls-verify=off", true, QIO_ERROR_TLS, "needs a certificate" },
        { "tls-ca=@good/ca-cert.pem;tls-cert=@good/server-cert.pem", true, QIO_ERROR_TLS,
          "not the key" },
        { "tls-ca=@good/ca-cert.pem;tls-key=@good/server-key.pem", true, QIO_ERROR_TLS,
          "not the certificate" },
        { "tls-ca=@good/ca-cert.pem;tls-cert=@good/client-cert.pem", false, QIO_ERROR_TLS,
          "not the key" },
        { "tls-dir=@good;tls-key=@other/server-key.pem", true, QIO_ERROR_INVAL, "not that of" },
        { "tls-dir=@good;tls-key=@garbage.pem", true, QIO_ERROR_INVAL, "garbage.pem" },
        { "tls-dir=@good;tls-key=@locked-key.pem", true, QIO_ERROR_INVAL, "tls-password" },
        { "tls-dir=@good;tls-key=@locked-key.pem;tls-password=#wrong", true, QIO_ERROR_INVAL,
          "does not open it" },
        { "tls-dir=@good;tls-psk-user=x;tls-anon=on", true, QIO_ERROR_INVAL, "no use with anon" },
        { "tls-dir=@good;tls-priority=NORMAL:+NONSENSE", true, QIO_ERROR_INVAL, "NONSENSE" },
        { "tls-dir=@good;tls-priority=", true, QIO_ERROR_INVAL, "tls-priority" },
        { "tls-dir=@good;tls-priority=NONE", true, QIO_ERROR_INVAL, "tls-priority" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = tls_creds_error(rows[i].creds, rows[i].server);

        test_note("%s", rows[i].creds);
        CHECK_INT(qio_error_get_code(err), ==, rows[i].code);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].says);
        qio_error_free(err);
    }
}

TEST(material_from_memory_and_an_encrypted_key)
{
    TlsPair two;

    tls_pair(&two,
             "tls-ca=<good/ca-cert.pem;tls-cert=<good/client-cert.pem;tls-key=<good/client-key.pem",
             "tls-dir=@good;tls-key=<locked-key.pem;tls-password=#open sesame", NULL, NULL);
    tls_shake_well(&two);
    tls_drop(&two);
}

/* The system's list does not hold the authority of the tests. */
TEST(without_an_authority_the_system_is_trusted)
{
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;

    tls_pair(&two, "tls-sanity=off", "tls-dir=@good;tls-verify=off", NULL, NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    check_finding(client_err, "untrusted");
    check_finding(server_err, "alert");
    tls_drop(&two);
}
