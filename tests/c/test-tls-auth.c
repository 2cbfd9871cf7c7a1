/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tls-auth.c: keys that both ends have, access lists, and functions that look keys up and let
 * peers in.
 *
 * Owns: that nobody gets in by a name that is almost right, that a check which cannot be made is
 * refused when the channel is made, and that a secret stands in no message and stays in no memory.
 */
#include "tls-pair.h"

#include <stdio.h>

/* ---- keys ---- */

TEST(each_wrong_name_and_key)
{
    static const struct {
        const char *client;
        bool works;
    } rows[] = {
        { "tls-psk-file=@keys.psk;tls-psk-user=alice", true },
        { "tls-psk-file=@keys.psk;tls-psk-user=with:colon", true },
        { "tls-psk-file=@keys.psk", true },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", true },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", false },
        { "tls-psk-key=#B", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=QIO", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=qi", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=qio2", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=alice", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=nobody", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=\xff\xfe", false },
        { "tls-psk-key=#BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB;tls-psk-user=# a comment", false },
        { "tls-dir=@good", false },
        { "tls-anon=on", false },
    };
    static const char *const versions[] = { "", ";tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2" };

    for (size_t i = 0; i < G_N_ELEMENTS(rows) * 2; i++) {
        char *server = g_strconcat("tls-psk-file=@keys.psk", versions[i % 2], NULL);
        Error *client_err = NULL, *server_err = NULL;
        TlsPair two;
        char byte;

        tls_pair(&two, rows[i / 2].client, server, NULL, NULL);
        test_note("%s%s", rows[i / 2].client, versions[i % 2]);
        if (rows[i / 2].works) {
            tls_shake_well(&two);
            tls_send(two.client, two.server, 10);
        } else {
            CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
            CHECK_INT(qio_error_get_code(server_err), ==, QIO_ERROR_TLS);
            CHECK_INT(qio_error_get_number(server_err), <, 256);
            CHECK_INT(qio_channel_try_read(two.server, &byte, 1, NULL), ==, -1);
            CHECK_INT(qio_channel_try_read(two.client, &byte, 1, NULL), ==, -1);
        }
        qio_error_free(client_err);
        qio_error_free(server_err);
        tls_drop(&two);
        g_free(server);
    }
}

TEST(each_bad_file_of_keys)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "alice\n", "line 1 is not user:hexkey" },
        { ":00\n", "line 1 is not user:hexkey" },
        { "alice:\n", "line 1 has no key" },
        { "# ok\nalice:0\n", "line 2 has no key" },
        { "alice:0g\n", "line 1 has no key" },
        { "alice:00 \n", "line 1 has no key" },
        { "alice:00\nbob:11\nalice:22\n", "line 3 has a user who was there before" },
        { "al\1ce:000\n", "line 1 has no key" },
    };
    char *path = g_build_filename(test_dir(), "odd.psk", NULL);
    QIOOptions *options = qio_options_new();

    CHECK_INT(qio_options_set_str(options, "tls-psk-file", path, NULL), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = NULL;

        test_note("%s", rows[i].text);
        CHECK(g_file_set_contents(path, rows[i].text, -1, NULL));
        CHECK_PTR(qio_tls_creds_new_psk(options, true, &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].says);
        qio_error_free(err);
    }
    qio_options_free(options);
    g_free(path);
}

TEST(keys_that_are_of_no_use)
{
    static const struct {
        const char *creds;
        bool server;
        const char *says;
    } rows[] = {
        { "tls-psk-file=@keys.psk;tls-psk-user=alice", true, "a psk server's" },
        { "tls-psk-key=#x", true, "a psk server's" },
        { "tls-psk-file=@keys.psk;tls-psk-key=#x", false, "one of them" },
        { "tls-psk-key=#", false, "0 bytes" },
        { "tls-psk-key=#x;tls-psk-user=", false, "tls-psk-user" },
        { "tls-psk-file=@nowhere.psk", true, "nowhere.psk" },
        { "tls-psk-file=@keys.psk;tls-ca=@good/ca-cert.pem", true, "tls-ca" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = tls_creds_error(rows[i].creds, rows[i].server);

        test_note("%s", rows[i].creds);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].says);
        qio_error_free(err);
    }
}

/* ---- a function that looks keys up ---- */

typedef struct Lookup {
    int calls, freed, answer;
    const char *fails_with;
    char user[64];
} Lookup;

static int look_up(QIOTlsCreds *creds, const char *user, void *key, size_t cap, gpointer opaque,
                   Error **errp)
{
    Lookup *lookup = opaque;

    lookup->calls++;
    g_strlcpy(lookup->user, user, sizeof(lookup->user));
    CHECK_INT(cap, >=, 64);
    memset(key, 'B', 32);
    if (lookup->fails_with) {
        qio_error_set(errp, QIO_ERROR_CALLBACK, "%s", lookup->fails_with);
    }
    return lookup->answer;
}

static void count_free(gpointer opaque)
{
    ((Lookup *)opaque)->freed++;
}

static QIOTlsCreds *psk_by_function(Lookup *lookup, bool server)
{
    QIOTlsCreds *creds = qio_tls_creds_new_psk(NULL, server, NULL);

    CHECK_INT(qio_tls_creds_set_psk_lookup(creds, look_up, lookup, count_free, NULL), ==, 0);
    return creds;
}

TEST(a_function_looks_keys_up_at_both_ends)
{
    Lookup client_lookup = { .answer = 32 }, server_lookup = { .answer = 32 };
    QIOTlsCreds *client = psk_by_function(&client_lookup, false);
    QIOTlsCreds *server = psk_by_function(&server_lookup, true);
    TlsPair two;
    char buf[256];

    tls_pair_creds(&two, pair, client, server, NULL, NULL);
    tls_shake_well(&two);
    CHECK_INT(client_lookup.calls, >=, 1);
    CHECK_INT(server_lookup.calls, >=, 1);
    CHECK_STR(server_lookup.user, "qio");
    CHECK_STR(tls_str(two.server, "peer-name", buf), "qio");
    CHECK_STR(tls_str(two.client, "peer-name", buf), "");
    CHECK_INT(qio_tls_creds_set_psk_lookup(client, look_up, &client_lookup, count_free, NULL), ==,
              -1);
    CHECK_INT(client_lookup.freed, ==, 1);
    client_lookup.freed = 0;
    tls_drop(&two);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
    CHECK_INT(client_lookup.freed, ==, 1);
    CHECK_INT(server_lookup.freed, ==, 1);
}

static void lookup_that_fails(int answer, const char *fails_with, QIOErrorCode code)
{
    Lookup lookup = { .answer = answer, .fails_with = fails_with };
    QIOTlsCreds *client = tls_creds("tls-psk-file=@keys.psk", false);
    QIOTlsCreds *server = psk_by_function(&lookup, true);
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;

    tls_pair_creds(&two, pair, client, server, NULL, NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    CHECK_INT(lookup.calls, >=, 1);
    CHECK_INT(qio_error_get_code(server_err), ==, code);
    if (fails_with) {
        CHECK_STR_HAS(qio_error_get_pretty(server_err), fails_with);
    }
    qio_error_free(client_err);
    qio_error_free(server_err);
    tls_drop(&two);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
}

TEST(a_lookup_that_knows_no_such_user_or_fails)
{
    lookup_that_fails(0, NULL, QIO_ERROR_TLS);
    lookup_that_fails(-1, "the table is closed", QIO_ERROR_CALLBACK);
    lookup_that_fails(-1, NULL, QIO_ERROR_CALLBACK);
    lookup_that_fails(100000, NULL, QIO_ERROR_CALLBACK);
}

TEST(credentials_without_any_key_make_no_channel)
{
    for (int server = 0; server < 2; server++) {
        QIOTlsCreds *creds = qio_tls_creds_new_psk(NULL, server, NULL);
        Error *err = NULL;
        QIOChannel *a, *b;

        pair(&a, &b);
        CHECK_PTR(qio_channel_tls_new_options(a, creds, NULL, server, &err), ==, NULL);
        CHECK_STR_HAS(qio_error_get_pretty(err), "no key");
        qio_error_free(err);
        /* The channel below is as it was. */
        CHECK_INT(qio_channel_write_all(a, "x", 1, NULL), ==, 0);
        qio_tls_creds_unref(creds);
        drop(a, b);
    }
}

/* ---- who may come in ---- */

static void with_acl(const char *acl, bool in)
{
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;
    char byte;

    test_note("%s", acl);
    tls_pair(&two, NULL, NULL, NULL, acl);
    if (in) {
        tls_shake_well(&two);
    } else {
        CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
        CHECK_INT(qio_error_get_number(server_err), ==, QIO_TLS_CERT_REFUSED);
        CHECK_INT(qio_channel_try_read(two.server, &byte, 1, NULL), ==, -1);
        if (!client_err) {
            CHECK_INT(qio_channel_read(two.client, &byte, 1, &client_err), ==, -1);
        }
        CHECK_INT(qio_error_get_number(client_err), ==, 49);
    }
    qio_error_free(client_err);
    qio_error_free(server_err);
    tls_drop(&two);
}

TEST(each_rule_of_an_access_list)
{
    with_acl("tls-acl=CN=a client,O=Tests,C=XX", true);
    with_acl("tls-acl=CN=nobody;tls-acl=CN=a client,O=Tests,C=XX", true);
    with_acl("tls-acl=CN=a client*", true);
    with_acl("tls-acl=*,C=XX", true);
    with_acl("tls-acl=*O=Tests*", true);
    with_acl("tls-acl=CN=a ?lient,*", true);
    with_acl("tls-acl=*", true);
    with_acl("tls-acl=CN=a client", false);
    with_acl("tls-acl=cn=a client*", false);
    with_acl("tls-acl=CN=b*", false);
    with_acl("tls-acl=", false);
    with_acl("tls-acl=!CN=a client*;tls-acl=*", false);
    with_acl("tls-acl=*;tls-acl=!CN=a client*", true);
    with_acl("tls-acl=!CN=another*;tls-acl=*", true);
    with_acl("tls-acl=!CN=another*", false);
}

static void refused_at_birth(const char *creds_text, const char *options_text, const char *aclname)
{
    QIOTlsCreds *creds = tls_creds(creds_text, true);
    QIOOptions *options = tls_options(options_text);
    Error *err = NULL;
    QIOChannel *a, *b;
    QIOChannelTls *tls;

    pair(&a, &b);
    test_note("%s", creds_text);
    tls = aclname ? qio_channel_tls_new_server(a, creds, aclname, &err)
                  : qio_channel_tls_new_options(a, creds, options, true, &err);
    CHECK_PTR(tls, ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "no identity");
    qio_error_free(err);
    qio_options_free(options);
    qio_tls_creds_unref(creds);
    drop(a, b);
}

static int let_in(QIOChannel *ioc, const char *identity, gpointer opaque, Error **errp)
{
    Lookup *lookup = opaque;

    lookup->calls++;
    g_strlcpy(lookup->user, identity, sizeof(lookup->user));
    if (lookup->fails_with) {
        qio_error_set(errp, QIO_ERROR_CALLBACK, "%s", lookup->fails_with);
    }
    return lookup->answer;
}

TEST(a_check_that_could_not_be_made_is_refused)
{
    static const struct {
        const char *creds;
        bool server;
    } rows[] = {
        { "tls-anon=on", true }, { "tls-anon=on", false }, { "tls-dir=@good;tls-verify=off", true },
        { "tls-dir=@good;tls-verify=off", false }, { "tls-psk-file=@keys.psk", false },
    };

    refused_at_birth("tls-anon=on", "tls-acl=*", NULL);
    refused_at_birth("tls-anon=on", NULL, "*");
    refused_at_birth("tls-dir=@good;tls-verify=off", "tls-acl=*", NULL);
    refused_at_birth("tls-dir=@good;tls-verify=off", NULL, "CN=x");
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        QIOTlsCreds *creds = tls_creds(rows[i].creds, rows[i].server);
        Lookup lookup = { 0 };
        Error *err = NULL;

        CHECK_INT(qio_tls_creds_set_authorize(creds, let_in, &lookup, count_free, &err), ==, -1);
        CHECK_STR_HAS(qio_error_get_pretty(err), "no identity");
        CHECK_INT(lookup.freed, ==, 1);
        qio_error_free(err);
        qio_tls_creds_unref(creds);
    }
}

static void with_function(const char *client_text, const char *server_text, Lookup *lookup,
                          const char *identity, bool in)
{
    QIOTlsCreds *client = tls_creds(client_text, false), *server = tls_creds(server_text, true);
    Error *client_err = NULL, *server_err = NULL;
    TlsPair two;
    char buf[256];

    CHECK_INT(qio_tls_creds_set_authorize(server, let_in, lookup, count_free, NULL), ==, 0);
    for (int i = 1; i <= 2; i++) {
        tls_pair_creds(&two, pair, client, server, "tls-hostname=server.example", NULL);
        CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, in ? 0 : -1);
        /* Each time, also when the second session is a resumed one. */
        CHECK_INT(lookup->calls, ==, i);
        CHECK_STR(lookup->user, identity);
        if (in) {
            CHECK_STR(tls_str(two.server, "peer-name", buf), identity);
            tls_send(two.server, two.client, 1);
        } else {
            CHECK_INT(qio_channel_try_read(two.server, buf, 1, NULL), ==, -1);
            CHECK_STR_HAS(qio_error_get_pretty(server_err),
                          lookup->fails_with ? lookup->fails_with : "refuses the peer");
        }
        tls_drop(&two);
        g_clear_pointer(&client_err, qio_error_free);
        g_clear_pointer(&server_err, qio_error_free);
    }
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
    CHECK_INT(lookup->freed, ==, 1);
}

TEST(a_function_lets_peers_in)
{
    const char *psk = "tls-psk-file=@keys.psk";
    const char *name = "CN=a client,O=Tests,C=XX";

    with_function(NULL, NULL, &(Lookup){ .answer = 1 }, name, true);
    with_function(NULL, NULL, &(Lookup){ .answer = 0 }, name, false);
    with_function(NULL, NULL, &(Lookup){ .answer = 2 }, name, false);
    with_function(NULL, NULL, &(Lookup){ .answer = -1, .fails_with = "no list" }, name, false);
    with_function("tls-psk-file=@keys.psk;tls-psk-user=alice", psk, &(Lookup){ .answer = 1 },
                  "alice", true);
    with_function("tls-psk-file=@keys.psk;tls-psk-user=alice", psk, &(Lookup){ .answer = 0 },
                  "alice", false);
}

/* ---- secrets ---- */

/* Whether the bytes are anywhere in this process that can be written to.  They are kept apart from
 * their complement here, so as not to be found themselves. */
static bool in_memory(const uint8_t *complement, size_t len)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    FILE *memory = fopen("/proc/self/mem", "r");
    char line[512];
    bool found = false;

    while (fgets(line, sizeof(line), maps) && !found) {
        unsigned long begin, end;
        char rights[8];
        uint8_t *copy;
        size_t n;

        if (sscanf(line, "%lx-%lx %7s", &begin, &end, rights) != 3 || rights[1] != 'w' ||
            strstr(line, "[stack]") || end - begin > 256u << 20) {
            continue;
        }
        copy = g_malloc(end - begin);
        fseek(memory, (long)begin, SEEK_SET);
        n = fread(copy, 1, end - begin, memory);
        for (size_t i = 0; i + len <= n && !found; i++) {
            size_t j;

            for (j = 0; j < len && (copy[i + j] ^ complement[j]) == 0xff; j++) {
            }
            found = j == len;
        }
        memset(copy, 0, end - begin);
        g_free(copy);
    }
    fclose(maps);
    fclose(memory);
    return found;
}

TEST(a_key_stays_in_no_memory_and_no_message)
{
    uint8_t complement[24], key[24];
    QIOOptions *options = qio_options_new();
    Error *client_err = NULL, *server_err = NULL;
    QIOTlsCreds *client, *server;
    TlsPair two;

    for (size_t i = 0; i < sizeof(key); i++) {
        complement[i] = (uint8_t)(0x91 + 11 * i);
        key[i] = (uint8_t)~complement[i];
    }
    CHECK_INT(qio_options_set_bytes(options, "tls-psk-key", key, sizeof(key), NULL), ==, 0);
    explicit_bzero(key, sizeof(key));
    client = qio_tls_creds_new_psk(options, false, NULL);
    qio_options_free(options);
    CHECK(in_memory(complement, sizeof(complement)));
    server = tls_creds("tls-psk-file=@keys.psk", true);
    tls_pair_creds(&two, pair, client, server, NULL, NULL);
    CHECK_INT(tls_shake(&two, &client_err, &server_err), ==, -1);
    CHECK(!strstr(qio_error_get_pretty(server_err), "42424242"));
    tls_drop(&two);
    qio_error_free(client_err);
    qio_error_free(server_err);
    qio_tls_creds_unref(client);
    qio_tls_creds_unref(server);
    CHECK(!in_memory(complement, sizeof(complement)));
}
