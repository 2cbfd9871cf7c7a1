/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-options.c: the register of keys, and what options take, keep and refuse.
 *
 * Owns: the table of good and bad values for each type of key, and the words of the messages
 * that people act on.
 */
#include "options-equal.h"
#include "runner.h"
#include "net/net-priv.h"

/* What a call that fails has put into *err; takes the error away again. */
static void check_refused(int ret, Error **err, const char *part)
{
    CHECK_INT(ret, ==, -1);
    CHECK(*err != NULL);
    CHECK_INT(qio_error_get_code(*err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(*err), part);
    g_clear_pointer(err, qio_error_free);
}

static void refuse_str(const char *key, const char *value, const char *part)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;
    int ret;

    test_note("%s=%s", key ? key : "(null)", value ? value : "(null)");
    ret = qio_options_set_str(options, key, value, &err);
    check_refused(ret, &err, part);
    CHECK(!qio_options_has(options, key));
    qio_options_free(options);
}

static void take_str(const char *key, const char *value)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;

    test_note("%s=%s", key, value);
    if (qio_options_set_str(options, key, value, &err) < 0) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    CHECK_STR(qio_options_get_str(options, key, NULL), value);
    qio_options_free(options);
}

TEST(register_is_in_order_and_complete)
{
    static const char *const expected[] = {
        "allow", "arg", "backlog", "buffer", "close-timeout", "columns", "cwd", "env",
        "handshake-timeout", "idle-timeout", "ipv4", "ipv6", "keep-alive", "limit",
        "mode", "name", "nodelay", "numeric", "permissions", "pty", "raw", "rows", "speed",
        "stderr", "stderr-fd", "timeout",
        "tls-acl", "tls-alpn", "tls-anon", "tls-ca", "tls-cert", "tls-creds", "tls-crl", "tls-dir",
        "tls-hostname", "tls-key", "tls-password", "tls-priority", "tls-psk-file", "tls-psk-key",
        "tls-psk-user", "tls-relaxed", "tls-resume", "tls-sanity", "tls-verify", "to",
        "ws-deflate",
        "ws-header", "ws-host", "ws-max-inflated", "ws-max-message", "ws-mode", "ws-origin",
        "ws-path", "ws-protocol", "ws-request",
    };
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);

    CHECK_INT(count, ==, G_N_ELEMENTS(expected));
    for (size_t i = 0; i < count; i++) {
        CHECK_STR(keys[i].name, expected[i]);
        CHECK_PTR(qio_option_key_find(expected[i], NULL), ==, &keys[i]);
    }
}

TEST(values_of_each_type)
{
    static const struct {
        const char *key, *value;
    } good[] = {
        { "name", "" }, { "name", "anything at all = \x01" },
        { "nodelay", "on" }, { "nodelay", "off" },
        { "backlog", "1" }, { "backlog", "65535" },
        { "permissions", "0" }, { "permissions", "644" }, { "permissions", "07777" },
        { "timeout", "0" }, { "timeout", "2.5" }, { "timeout", "none" }, { "timeout", "off" },
        { "timeout", "2147483" }, { "timeout", "0.0000000000000000000000001" },
        { "mode", "rw" }, { "mode", "a" },
        { "allow", "all" }, { "allow", "net,unix,exec" },
        { "env", "A=b" }, { "env", "A=" }, { "env", "A=b=c" }, { "env", "" },
    };
    static const struct {
        const char *key, *value, *part;
    } bad[] = {
        { "nodelay", "yes", "\"nodelay\" takes on or off, not \"yes\"" },
        { "nodelay", "ON", "on or off" },
        { "nodelay", "", "on or off" },
        { "backlog", "0", "\"backlog\" takes a whole number from 1 to 65535, not \"0\"" },
        { "backlog", "65536", "from 1 to 65535" },
        { "backlog", "99999999999999999999", "from 1 to 65535" },
        { "backlog", " 1", "from 1 to 65535" },
        { "backlog", "+1", "from 1 to 65535" },
        { "backlog", "1x", "from 1 to 65535" },
        { "permissions", "8", "\"permissions\" takes an octal number from 0 to 7777" },
        { "permissions", "10000", "octal" },
        { "permissions", "rw-r--r--", "octal" },
        { "timeout", "", "\"timeout\" takes seconds from 0 to 2147483 (such as 2.5), none" },
        { "timeout", "-1", "seconds" },
        { "timeout", "1.", "seconds" },
        { "timeout", ".5", "seconds" },
        { "timeout", "1e3", "seconds" },
        { "timeout", "1,5", "seconds" },
        { "timeout", "nan", "seconds" },
        { "timeout", "2147483.5", "seconds" },
        { "timeout", "99999999999999999999999999", "seconds" },
        { "mode", "x", "\"mode\" takes r, w, rw or a, not \"x\"" },
        { "mode", "", "r, w, rw or a" },
        { "stderr", "2", "inherit, null, merge or pipe" },
        { "allow", "", "\"allow\" takes net, unix, vsock, fd, file, null, buffer, exec or all" },
        { "allow", "net,", "or all" },
        { "allow", "everything", "not \"everything\"" },
        { "env", "A", "NAME=value" },
        { "env", "=b", "NAME=value" },
        { "name", NULL, "the value of the key \"name\" is NULL" },
        { NULL, "x", "the key is NULL" },
        { "tls-dir", "", "\"tls-dir\" takes a path, not \"\"" },
        { "tls-ca", "", "\"tls-ca\" takes a path" },
        { "tls-password", "hunter2", "\"tls-password\" takes bytes, not text" },
        { "tls-psk-key", "", "\"tls-psk-key\" takes bytes, not text" },
        { "tls-creds", "x", "\"tls-creds\" takes an object, not text" },
        { "ws-mode", "text", "stream or messages" },
        { "ws-max-message", "0", "from 1 to 2147483647" },
        { "mode", "r\x1b[2J", "not \"r\\x1b[2J\"" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        take_str(good[i].key, good[i].value);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        refuse_str(bad[i].key, bad[i].value, bad[i].part);
    }
}

TEST(unknown_key_names_the_nearest)
{
    refuse_str("tiemout", "1", "unknown key \"tiemout\"; the nearest is \"timeout\"");
    refuse_str("keepalive", "on", "the nearest is \"keep-alive\"");
    refuse_str("keep_alive", "on", "the nearest is \"keep-alive\"");
    refuse_str("args", "x", "the nearest is \"arg\"");
    refuse_str("perms", "x", "the nearest is");
    refuse_str("", "x", "unknown key \"\"; the nearest is");
    refuse_str("\n", "x", "unknown key \"\\x0a\"");
}

TEST(seconds_become_milliseconds)
{
    static const struct {
        const char *text;
        int ms;
    } rows[] = {
        { "0", 0 }, { "1", 1000 }, { "2.5", 2500 }, { "0.001", 1 }, { "0.0001", 1 },
        { "0.0010000", 1 }, { "0.0010001", 2 }, { "1.999999", 2000 }, { "none", -1 },
        { "off", -1 }, { "2147483", 2147483000 }, { "2147483.0", 2147483000 },
        { "2147484", -2 }, { "nine", -2 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        test_note("%s", rows[i].text);
        CHECK_INT(qio_option_parse_ms(rows[i].text), ==, rows[i].ms);
    }
}

TEST(integers)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;

    CHECK_INT(qio_options_set_int(options, "backlog", 17, NULL), ==, 0);
    CHECK_INT(qio_options_get_int(options, "backlog", -1), ==, 17);
    CHECK_INT(qio_options_set_int(options, "permissions", 0640, NULL), ==, 0);
    CHECK_STR(qio_options_get_str(options, "permissions", NULL), "640");
    CHECK_INT(qio_options_get_int(options, "permissions", -1), ==, 0640);
    CHECK_INT(qio_options_set_int(options, "nodelay", 1, NULL), ==, 0);
    CHECK(qio_options_get_bool(options, "nodelay", false));
    CHECK_INT(qio_options_set_int(options, "nodelay", 0, NULL), ==, 0);
    CHECK(!qio_options_get_bool(options, "nodelay", true));
    CHECK_INT(qio_options_set_int(options, "timeout", 3, NULL), ==, 0);
    CHECK_INT(qio_options_get_ms(options, "timeout", -7), ==, 3000);
    CHECK_INT(qio_options_set_int(options, "stderr-fd", 2, NULL), ==, 0);

    check_refused(qio_options_set_int(options, "backlog", 0, &err), &err, "not \"0\"");
    check_refused(qio_options_set_int(options, "permissions", -1, &err), &err, "not \"-1\"");
    check_refused(qio_options_set_int(options, "nodelay", 2, &err), &err, "not \"2\"");
    check_refused(qio_options_set_int(options, "stderr-fd", INT64_MAX, &err), &err, "2147483647");
    check_refused(qio_options_set_int(options, "name", 1, &err), &err,
                  "\"name\" takes text, not a number");
    check_refused(qio_options_set_int(options, "nome", 1, &err), &err, "\"name\"");
    /* What was refused changed nothing. */
    CHECK_INT(qio_options_get_int(options, "backlog", -1), ==, 17);
    qio_options_free(options);
}

TEST(lists_and_replacing)
{
    QIOOptions *options = qio_options_new();
    const char *const *list;
    Error *err = NULL;

    CHECK_PTR(qio_options_get_list(options, "arg"), ==, NULL);
    CHECK_INT(qio_options_add_str(options, "arg", "", NULL), ==, 0);
    CHECK_INT(qio_options_add_str(options, "arg", "two", NULL), ==, 0);
    list = qio_options_get_list(options, "arg");
    CHECK_STR(list[0], "");
    CHECK_STR(list[1], "two");
    CHECK_PTR(list[2], ==, NULL);
    CHECK_STR(qio_options_get_str(options, "arg", NULL), "two");

    CHECK_INT(qio_options_set_str(options, "arg", list[1], NULL), ==, 0);
    list = qio_options_get_list(options, "arg");
    CHECK_STR(list[0], "two");
    CHECK_PTR(list[1], ==, NULL);

    CHECK_INT(qio_options_add_str(options, "mode", "r", NULL), ==, 0);
    check_refused(qio_options_add_str(options, "mode", "w", &err), &err,
                  "\"mode\" is given twice and takes one value");
    CHECK_INT(qio_options_set_str(options, "mode", "w", NULL), ==, 0);
    CHECK_STR(qio_options_get_str(options, "mode", NULL), "w");
    qio_options_free(options);
}

TEST(bytes)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;

    CHECK_INT(qio_options_set_bytes(options, "name", "abcdef", 3, NULL), ==, 0);
    CHECK_STR(qio_options_get_str(options, "name", NULL), "abc");
    CHECK_INT(qio_options_set_bytes(options, "name", NULL, 0, NULL), ==, 0);
    CHECK_STR(qio_options_get_str(options, "name", NULL), "");
    check_refused(qio_options_set_bytes(options, "name", "a\0b", 3, &err), &err,
                  "without NUL bytes");
    check_refused(qio_options_set_bytes(options, "name", NULL, 3, &err), &err, "NULL");
    check_refused(qio_options_set_bytes(options, "nam", "a\0b", 3, &err), &err, "unknown key");
    check_refused(qio_options_set_bytes(options, "mode", "rx", 2, &err), &err, "\"rx\"");
    qio_options_free(options);
}

TEST(material_is_bytes_or_the_name_of_a_file)
{
    QIOOptions *options = qio_options_new();
    QIOOptions *copy;
    Error *err = NULL;
    size_t len = 99;

    qio_options_set_str(options, "tls-key", "/etc/key.pem", NULL);
    CHECK_STR(qio_options_get_str(options, "tls-key", NULL), "/etc/key.pem");
    CHECK_PTR(qio_options_get_bytes(options, "tls-key", &len), ==, NULL);
    CHECK_STR(qio_options_find_file(options), "tls-key");

    CHECK_INT(qio_options_set_bytes(options, "tls-key", "a\0b", 3, NULL), ==, 0);
    CHECK_PTR(qio_options_get_str(options, "tls-key", NULL), ==, NULL);
    CHECK_PTR(qio_options_get_list(options, "tls-key"), ==, NULL);
    CHECK_MEM(qio_options_get_bytes(options, "tls-key", &len), "a\0b", 3);
    CHECK_INT(len, ==, 3);
    CHECK(qio_options_has(options, "tls-key"));
    CHECK_PTR(qio_options_find_file(options), ==, NULL);

    copy = qio_options_copy(options);
    CHECK(options_equal(copy, options));
    CHECK(qio_options_get_bytes(copy, "tls-key", &len) !=
          qio_options_get_bytes(options, "tls-key", &len));
    /* Its own value again, and back to a file. */
    CHECK_INT(qio_options_set_bytes(copy, "tls-key", qio_options_get_bytes(copy, "tls-key", &len),
                                    2, NULL), ==, 0);
    CHECK_MEM(qio_options_get_bytes(copy, "tls-key", &len), "a\0", 2);
    CHECK(!options_equal(copy, options));
    CHECK_INT(qio_options_set_str(copy, "tls-key", "k", NULL), ==, 0);
    CHECK_PTR(qio_options_get_bytes(copy, "tls-key", &len), ==, NULL);
    CHECK(!options_equal(copy, options));

    CHECK_INT(qio_options_set_bytes(options, "tls-password", NULL, 0, NULL), ==, 0);
    CHECK(qio_options_get_bytes(options, "tls-password", &len) != NULL);
    CHECK_INT(len, ==, 0);
    check_refused(qio_options_set_bytes(options, "tls-key", "x", SIZE_MAX, &err), &err,
                  "at most 16777216 bytes");
    check_refused(qio_options_set_int(options, "tls-psk-key", 1, &err), &err,
                  "takes bytes, not a number");
    qio_options_free(copy);
    qio_options_free(options);
}

/* A count in the place of an object. */
static gpointer count_ref(gpointer object)
{
    ++*(int *)object;
    return object;
}

static void count_unref(gpointer object)
{
    --*(int *)object;
}

TEST(objects_are_referenced)
{
    QIOOptions *options = qio_options_new();
    QIOOptions *copy;
    Error *err = NULL;
    int one = 0, two = 0;

    CHECK_PTR(qio_options_get_object(options, "tls-creds"), ==, NULL);
    CHECK_INT(qio_options_set_object(options, "tls-creds", &one, count_ref, count_unref, NULL), ==,
              0);
    CHECK_INT(qio_options_set_object(options, "tls-creds", &one, count_ref, count_unref, NULL), ==,
              0);
    CHECK_INT(one, ==, 1);
    copy = qio_options_copy(options);
    CHECK_INT(one, ==, 2);
    CHECK(options_equal(copy, options));
    CHECK_STR(qio_options_get_str(copy, "tls-creds", "else"), "else");
    CHECK_PTR(qio_options_get_object(copy, "tls-creds"), ==, &one);
    qio_options_set_object(options, "tls-creds", &two, count_ref, count_unref, NULL);
    CHECK_INT(one, ==, 1);
    CHECK(!options_equal(copy, options));
    check_refused(qio_options_set_object(options, "tls-creds", NULL, count_ref, count_unref, &err),
                  &err, "not NULL");
    check_refused(qio_options_set_object(options, "tls-ca", &one, count_ref, count_unref, &err),
                  &err, "no object");
    check_refused(qio_options_set_bytes(options, "tls-creds", "x", 1, &err), &err, "an object");
    qio_options_free(options);
    qio_options_free(copy);
    CHECK_INT(one, ==, 0);
    CHECK_INT(two, ==, 0);
}

TEST(fallbacks_and_nulls)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;

    CHECK_STR(qio_options_get_str(options, "name", "else"), "else");
    CHECK_STR(qio_options_get_str(NULL, "name", "else"), "else");
    CHECK_INT(qio_options_get_int(options, "backlog", 5), ==, 5);
    CHECK_INT(qio_options_get_ms(NULL, "timeout", 30000), ==, 30000);
    CHECK(qio_options_get_bool(NULL, "ipv4", true));
    CHECK(!qio_options_has(NULL, "ipv4"));
    CHECK(!qio_options_has(options, "no such key"));
    CHECK(!qio_options_has(options, NULL));
    CHECK_INT(qio_options_set_str(NULL, "name", "x", &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "options are NULL");
    qio_error_free(err);
    qio_options_free(options);
    qio_options_free(NULL);
}

TEST(copies_and_overriding)
{
    QIOOptions *a = qio_options_new();
    QIOOptions *b, *c;

    qio_options_add_str(a, "arg", "1", NULL);
    qio_options_add_str(a, "arg", "2", NULL);
    qio_options_set_str(a, "cwd", "/", NULL);
    b = qio_options_copy(a);
    CHECK(options_equal(a, b));
    qio_options_add_str(b, "arg", "3", NULL);
    CHECK(!options_equal(a, b));
    CHECK_INT(g_strv_length((char **)qio_options_get_list(a, "arg")), ==, 2);

    c = qio_options_new();
    qio_options_set_str(c, "arg", "other", NULL);
    qio_options_override(b, c);
    CHECK_STR(qio_options_get_list(b, "arg")[0], "other");
    CHECK_PTR(qio_options_get_list(b, "arg")[1], ==, NULL);
    CHECK_STR(qio_options_get_str(b, "cwd", NULL), "/");
    qio_options_free(a);
    qio_options_free(b);
    qio_options_free(c);

    a = qio_options_copy(NULL);
    CHECK(!qio_options_has(a, "arg"));
    qio_options_free(a);
}

TEST(keys_of_schemes)
{
    QIOOptions *options = qio_options_new();
    Error *err = NULL;

    qio_options_set_str(options, "timeout", "1", NULL);
    for (int use = QIO_FOR_TCP; use <= QIO_FOR_BUFFER; use++) {
        CHECK(qio_options_check_uses(options, QIO_FOR_BIT(use), "it", NULL));
    }
    qio_options_set_str(options, "nodelay", "on", NULL);
    CHECK(qio_options_check_uses(options, QIO_FOR_BIT(QIO_FOR_TCP), "tcp:", NULL));
    CHECK(!qio_options_check_uses(options, QIO_FOR_BIT(QIO_FOR_UNIX), "unix:", &err));
    CHECK_STR(qio_error_get_pretty(err), "the key \"nodelay\" has no use with unix:");
    g_clear_pointer(&err, qio_error_free);

    qio_options_set_str(options, "tls-verify", "off", NULL);
    CHECK(!qio_options_check_uses(options, QIO_FOR_BIT(QIO_FOR_TCP), "tcp:", &err));
    CHECK_STR(qio_error_get_pretty(err), "the key \"tls-verify\" has no use with tcp:");
    g_clear_pointer(&err, qio_error_free);
    CHECK(qio_options_check_uses(options, QIO_FOR_BIT(QIO_FOR_TCP) | QIO_FOR_BIT(QIO_FOR_CREDS),
                                 "tls+tcp:", NULL));
    CHECK(qio_options_check_uses(NULL, 0, "nothing", NULL));
    qio_options_free(options);
}
