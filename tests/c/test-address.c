/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-address.c: addresses as text, as socket addresses, and there and back.
 *
 * Owns: the tables of what is and is not an address, and the round trips.
 */
#include "runner.h"

#include <arpa/inet.h>
#include <glib.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>
#include <qio/address.h>

typedef struct Good {
    const char *text;
    const char *printed;        /* NULL: as text */
} Good;

static const Good good[] = {
    { "tcp://127.0.0.1:80" },
    { "tcp://[::1]:80" },
    { "tcp://[::ffff:1.2.3.4]:65535" },
    { "tcp://[fe80::1%252]:80" },
    { "tcp://[fe80::1%25eth0]:80" },
    { "tcp://localhost:0" },
    { "tcp://Example-1.org.:8080" },
    { "tcp://a_b.c:1" },
    { "tcp://:5900" },
    { "tcp://%6cocalhost:1", "tcp://localhost:1" },
    { "unix:/run/x.sock" },
    { "unix:relative/x" },
    { "unix:" },
    { "unix:/a%20b%3Fc%23d%25" },
    { "unix:/a b", "unix:/a%20b" },
    { "unix:/caf\xc3\xa9", "unix:/caf%C3%A9" },
    { "abstract:name" },
    { "abstract:%00%01%FF" },
    { "vsock://2:1024" },
    { "vsock://4294967295:4294967295" },
    { "fd:0" },
    { "fd:2147483647" },
    { "fd:web" },
    { "fd:%33rd" },
    { "fd:%2D-." },
    { "fd:a/b@c", "fd:a%2Fb%40c" },
};

TEST(good_texts)
{
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        Error *err = NULL;
        QIOAddress *addr = qio_address_parse(good[i].text, &err);
        QIOAddress *again, *copy;
        char *text;

        test_note("%s", good[i].text);
        CHECK_STR(err ? qio_error_get_pretty(err) : NULL, NULL);
        text = qio_address_format(addr);
        CHECK_STR(text, good[i].printed ? good[i].printed : good[i].text);
        again = qio_address_parse(text, NULL);
        copy = qio_address_copy(addr);
        CHECK(qio_address_equal(addr, again));
        CHECK(qio_address_equal(copy, again));
        qio_address_free(addr);
        qio_address_free(again);
        qio_address_free(copy);
        g_free(text);
    }
}

typedef struct Bad {
    const char *text;
    const char *why;            /* part of the message */
} Bad;

static const Bad bad[] = {
    { "", "at position 0: it has to start with" },
    { "127.0.0.1:80", "has to start with" },
    { "TCP://h:1", "has to start with" },
    { "tcp:h:1", "has to start with" },
    { "tcp://", "at position 6: ':' and a port" },
    { "tcp://h", "at position 7: ':' and a port" },
    { "tcp://h:", "at position 8: the port" },
    { "tcp://h:-1", "at position 8: the port" },
    { "tcp://h:+1", "the port" },
    { "tcp://h: 1", "the port" },
    { "tcp://h:1 ", "at position 9: the port" },
    { "tcp://h:080", "the port" },
    { "tcp://h:65536", "at position 8: the port" },
    { "tcp://h:99999999999999999999", "the port" },
    { "tcp://h:80/", "at position 10: the port" },
    { "tcp://h:http", "the port" },
    { "tcp://::1:80", "at position 6: an IPv6 address has to be in brackets" },
    { "tcp://[::1:80", "at position 6: '[' has no ']'" },
    { "tcp://[::1]", "at position 11: ':' and a port" },
    { "tcp://[::1]80", "':' and a port" },
    { "tcp://[127.0.0.1]:80", "at position 7: there has to be an IPv6 address" },
    { "tcp://[]:80", "there has to be an IPv6 address" },
    { "tcp://[::1%25]:80", "there has to be an IPv6 address" },
    { "tcp://[::1%00]:80", "there has to be an IPv6 address" },
    { "tcp://1.2.3:80", "an IPv4 address has four numbers" },
    { "tcp://1.2.3.4.5:80", "an IPv4 address has four numbers" },
    { "tcp://256.1.1.1:80", "an IPv4 address has four numbers" },
    { "tcp://127.1:80", "an IPv4 address has four numbers" },
    { "tcp://user@h:80", "a host name has letters" },
    { "tcp://h h:80", "a host name has letters" },
    { "tcp://h%00:80", "NUL" },
    { "tcp://h%0a:80", "a host name has letters" },
    { "tcp://a..b:80", "is empty" },
    { "tcp://.a:80", "is empty" },
    { "tcp://h?x=1:80", "at position 7: '?' has to be written %3F" },
    { "unix:/a?b", "at position 7: '?' has to be written %3F" },
    { "unix:/a#b", "'#' has to be written %23" },
    { "unix:/a%00b", "NUL" },
    { "unix:/a%2", "at position 7: '%' needs two hexadecimal digits" },
    { "unix:/a%zz", "'%' needs two hexadecimal digits" },
    { "abstract:", "at least one byte" },
    { "vsock://2", "at position 9: ':' and a port" },
    { "vsock://4294967296:1", "at position 8: the cid" },
    { "vsock://2:4294967296", "the port" },
    { "vsock://any:1", "the cid" },
    { "vsock://02:1", "the cid" },
    { "fd:", "at position 3: the descriptor" },
    { "fd:-1", "the descriptor" },
    { "fd:2147483648", "the descriptor" },
    { "fd:0x1", "the descriptor" },
    { "fd:web:", "at position 3: the name of a descriptor" },
    { "fd:a%20b", "the name of a descriptor" },
    { "fd:caf\xc3\xa9", "the name of a descriptor" },
};

TEST(bad_texts_name_the_place)
{
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Error *err = NULL;

        test_note("%s", bad[i].text);
        CHECK_PTR(qio_address_parse(bad[i].text, &err), ==, NULL);
        CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
        CHECK_STR_HAS(qio_error_get_pretty(err), bad[i].why);
        qio_error_free(err);
    }
    CHECK_PTR(qio_address_parse(NULL, NULL), ==, NULL);
}

TEST(too_long)
{
    char path[200] = "unix:/";
    QIOAddress *addr;
    Error *err = NULL;
    struct sockaddr_storage ss;

    memset(path + 6, 'p', 106);
    addr = qio_address_parse(path, NULL);
    CHECK_INT(qio_address_to_sockaddr(addr, &ss, NULL), ==,
              offsetof(struct sockaddr_un, sun_path) + 108);
    qio_address_free(addr);
    path[6 + 106] = 'p';
    CHECK_PTR(qio_address_parse(path, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "107");
    g_clear_pointer(&err, qio_error_free);

    addr = qio_address_new_unix(path + 5);
    CHECK_INT(qio_address_to_sockaddr(addr, &ss, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "108 bytes are too long, 107 are possible");
    qio_error_free(err);
    qio_address_free(addr);

    addr = qio_address_new_abstract(path, 107);
    CHECK_INT(qio_address_to_sockaddr(addr, &ss, NULL), ==,
              offsetof(struct sockaddr_un, sun_path) + 108);
    qio_address_free(addr);
    addr = qio_address_new_abstract(path, 108);
    CHECK_INT(qio_address_to_sockaddr(addr, &ss, NULL), ==, -1);
    qio_address_free(addr);
}

/* text -> socket address -> text */
TEST(sockaddrs_there_and_back)
{
    static const char *const texts[] = {
        "tcp://127.0.0.1:80", "tcp://0.0.0.0:0", "tcp://[::1]:443", "tcp://[fe80::1%2523]:1",
        "tcp://[2001:db8::8:800:200c:417a]:65535", "unix:/run/x", "abstract:a%00b",
        "abstract:x", "vsock://3:5",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        QIOAddress *addr = qio_address_parse(texts[i], NULL);
        struct sockaddr_storage ss;
        int len = qio_address_to_sockaddr(addr, &ss, NULL);
        QIOAddress *back;
        char *text;

        test_note("%s", texts[i]);
        CHECK_INT(len, >, 0);
        back = qio_address_from_sockaddr((struct sockaddr *)&ss, (socklen_t)len, NULL);
        text = qio_address_format(back);
        CHECK_STR(text, texts[i]);
        CHECK(qio_address_equal(addr, back));
        g_free(text);
        qio_address_free(addr);
        qio_address_free(back);
    }
}

static QIOErrorCode sockaddr_code(QIOAddress *addr)
{
    struct sockaddr_storage ss;
    Error *err = NULL;
    QIOErrorCode code;

    CHECK_INT(qio_address_to_sockaddr(addr, &ss, &err), ==, -1);
    code = qio_error_get_code(err);
    qio_error_free(err);
    qio_address_free(addr);
    return code;
}

TEST(what_has_no_sockaddr)
{
    CHECK_INT(sockaddr_code(qio_address_parse("tcp://localhost:1", NULL)), ==, QIO_ERROR_NOTSUP);
    CHECK_INT(sockaddr_code(qio_address_parse("tcp://[fe80::1%25eth0]:1", NULL)), ==,
              QIO_ERROR_NOTSUP);
    CHECK_INT(sockaddr_code(qio_address_parse("tcp://:1", NULL)), ==, QIO_ERROR_NOTSUP);
    CHECK_INT(sockaddr_code(qio_address_parse("fd:3", NULL)), ==, QIO_ERROR_NOTSUP);
    CHECK_INT(sockaddr_code(qio_address_new_inet("127.0.0.1", 65536)), ==, QIO_ERROR_INVAL);
    CHECK_INT(sockaddr_code(qio_address_new_unix("")), ==, QIO_ERROR_INVAL);
    CHECK_INT(sockaddr_code(qio_address_new_abstract("", 0)), ==, QIO_ERROR_INVAL);
    CHECK_INT(sockaddr_code(qio_address_new_inet("x\x01\xff", 1)), ==, QIO_ERROR_NOTSUP);
}

TEST(odd_sockaddrs)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    struct sockaddr_in sin = { .sin_family = AF_INET };
    struct sockaddr other = { .sa_family = AF_PACKET };
    Error *err = NULL;
    QIOAddress *addr;

    addr = qio_address_from_sockaddr((struct sockaddr *)&sun,
                                     offsetof(struct sockaddr_un, sun_path), NULL);
    CHECK_INT(addr->kind, ==, QIO_ADDRESS_UNIX);
    CHECK_STR(addr->path, "");
    qio_address_free(addr);

    /* 108 bytes without a final NUL are legal for the kernel. */
    memset(sun.sun_path, 'q', sizeof(sun.sun_path));
    addr = qio_address_from_sockaddr((struct sockaddr *)&sun, sizeof(sun), NULL);
    CHECK_INT(addr->path_len, ==, 108);
    qio_address_free(addr);

    CHECK_PTR(qio_address_from_sockaddr(&other, sizeof(other), &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_address_from_sockaddr((struct sockaddr *)&sin, 4, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    CHECK_PTR(qio_address_from_sockaddr(NULL, 0, NULL), ==, NULL);
}

TEST(equal)
{
    static const char *const texts[] = {
        "tcp://[::1]:80", "tcp://[::1]:81", "tcp://127.0.0.1:80", "unix:/a", "unix:/b",
        "abstract:/a", "vsock://1:2", "vsock://2:2", "fd:1", "fd:2",
        "fd:a", "fd:b",
    };
    QIOAddress *long_form = qio_address_parse("tcp://[0:0:0:0:0:0:0:1]:80", NULL);
    QIOAddress *short_form = qio_address_parse("tcp://[::1]:80", NULL);

    CHECK(qio_address_equal(long_form, short_form));
    CHECK(!qio_address_equal(long_form, NULL));
    CHECK(qio_address_equal(NULL, NULL));
    qio_address_free(long_form);
    qio_address_free(short_form);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(texts); k++) {
            QIOAddress *a = qio_address_parse(texts[i], NULL);
            QIOAddress *b = qio_address_parse(texts[k], NULL);

            CHECK(qio_address_equal(a, b) == (i == k));
            qio_address_free(a);
            qio_address_free(b);
        }
    }
}

/* Any bytes: an error or an address that prints to an equal one, and no crash. */
TEST(random_texts)
{
    static const char *const starts[] = { "tcp://", "tcp://[", "unix:", "abstract:", "vsock://",
                                          "fd:", "" };
    static const char alphabet[] = "0123456789abcdefx:.[]%/?#-_@\xff\x01 ";
    GRand *rnd = g_rand_new_with_seed(7);

    for (int i = 0; i < 50000; i++) {
        char text[40];
        size_t len;
        QIOAddress *addr, *again;
        Error *err = NULL;
        char *printed;

        g_strlcpy(text, starts[g_rand_int_range(rnd, 0, G_N_ELEMENTS(starts))], sizeof(text));
        for (len = strlen(text); len < sizeof(text) - 1 && g_rand_int_range(rnd, 0, 12); len++) {
            text[len] = alphabet[g_rand_int_range(rnd, 0, sizeof(alphabet) - 1)];
        }
        text[len] = '\0';
        addr = qio_address_parse(text, &err);
        CHECK((addr == NULL) == (err != NULL));
        if (!addr) {
            qio_error_free(err);
            continue;
        }
        printed = qio_address_format(addr);
        again = qio_address_parse(printed, NULL);
        CHECK(qio_address_equal(addr, again));
        g_free(printed);
        qio_address_free(addr);
        qio_address_free(again);
    }
    g_rand_free(rnd);
}
