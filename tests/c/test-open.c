/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-open.c: what each URI opens, what the caller has to allow, the deadline over it all,
 * and connecting and listening by address.
 */
#include "runner.h"
#include "seam.h"
#include "testclock.h"
#include "net/net-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <qio/channel-buffer.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>

/* ---- helpers ---- */

/* Options of key, value pairs, NULL-terminated; list keys may come several times. */
static QIOOptions *options_of(const char *key, ...)
{
    QIOOptions *options = qio_options_new();
    va_list args;

    va_start(args, key);
    for (; key != NULL; key = va_arg(args, const char *)) {
        CHECK_INT(qio_options_add_str(options, key, va_arg(args, const char *), NULL), ==, 0);
    }
    va_end(args);
    return options;
}

/* Opens with options, which it frees. */
static QIOChannel *open_with(const char *uri, QIOOptions *options)
{
    Error *err = NULL;
    QIOChannel *ioc = qio_channel_open_uri(uri, options, false, &err);

    qio_options_free(options);
    if (ioc == NULL) {
        test_fail(__FILE__, __LINE__, "%s: %s", uri, qio_error_get_pretty(err));
    }
    CHECK_PTR(err, ==, NULL);
    return ioc;
}

/* The error of opening, which must fail; frees the options. */
static Error *refused_with(const char *uri, QIOOptions *options)
{
    Error *err = NULL;

    test_note("%s", uri);
    CHECK_PTR(qio_channel_open_uri(uri, options, false, &err), ==, NULL);
    CHECK(err != NULL);
    qio_options_free(options);
    return err;
}

static void check_refused(const char *uri, QIOOptions *options, QIOErrorCode code,
                          const char *part)
{
    Error *err = refused_with(uri, options);

    CHECK_INT(qio_error_get_code(err), ==, code);
    CHECK_STR_HAS(qio_error_get_pretty(err), part);
    qio_error_free(err);
}

static void check_class(QIOChannel *ioc, const char *type_name)
{
    CHECK_STR(qio_object_get_typename((Object *)ioc), type_name);
}

static void close_and_unref(QIOChannel *ioc)
{
    Error *err = NULL;

    if (qio_channel_close(ioc, &err) < 0) {
        test_fail(__FILE__, __LINE__, "%s", qio_error_get_pretty(err));
    }
    qio_object_unref(ioc);
}

static char *path_uri(const char *scheme, const char *name)
{
    return g_strdup_printf("%s:%s/%s", scheme, test_dir(), name);
}

static void check_content(const char *name, const char *content)
{
    char *path = g_build_filename(test_dir(), name, NULL);
    char *found;

    CHECK(g_file_get_contents(path, &found, NULL, NULL));
    CHECK_STR(found, content);
    g_free(found);
    g_free(path);
}

static void write_all(QIOChannel *ioc, const char *text)
{
    CHECK_INT(qio_channel_write_all(ioc, text, strlen(text), NULL), ==, 0);
}

/* Reads to the end. */
static char *read_to_end(QIOChannel *ioc)
{
    GString *text = g_string_new(NULL);
    char buf[256];
    ssize_t n;

    while ((n = qio_channel_read(ioc, buf, sizeof(buf), NULL)) > 0) {
        g_string_append_len(text, buf, n);
    }
    CHECK_INT(n, ==, 0);
    return g_string_free(text, FALSE);
}

/* ---- null, buffer, file ---- */

TEST(null_and_buffer)
{
    QIOChannel *ioc = open_with("null:?name=hole", NULL);
    char byte;

    check_class(ioc, TYPE_QIO_CHANNEL_NULL);
    CHECK_STR(ioc->name, "hole");
    CHECK_INT(qio_channel_read(ioc, &byte, 1, NULL), ==, 0);
    close_and_unref(ioc);

    ioc = open_with("buffer:", NULL);
    check_class(ioc, TYPE_QIO_CHANNEL_BUFFER);
    write_all(ioc, "abc");
    close_and_unref(ioc);
}

TEST(file_modes)
{
    char *uri = path_uri("file", "data");
    char *path = uri + strlen("file:");
    struct stat st;
    QIOChannel *ioc;
    char *text;
    mode_t old = umask(022);

    check_refused(uri, NULL, QIO_ERROR_SYSTEM, "data");

    ioc = open_with(uri, options_of("mode", "w", "permissions", "640", NULL));
    check_class(ioc, TYPE_QIO_CHANNEL_FILE);
    write_all(ioc, "one");
    close_and_unref(ioc);
    CHECK_INT(stat(path, &st), ==, 0);
    CHECK_INT(st.st_mode & 07777, ==, 0640);

    ioc = open_with(uri, options_of("mode", "a", NULL));
    write_all(ioc, "two");
    close_and_unref(ioc);
    check_content("data", "onetwo");

    ioc = open_with(uri, options_of("mode", "rw", NULL));
    write_all(ioc, "ONE");
    text = read_to_end(ioc);
    CHECK_STR(text, "two");
    g_free(text);
    close_and_unref(ioc);
    check_content("data", "ONEtwo");

    ioc = open_with(uri, NULL);
    text = read_to_end(ioc);
    CHECK_STR(text, "ONEtwo");
    g_free(text);
    CHECK_INT(qio_channel_write(ioc, "x", 1, NULL), ==, -1);
    close_and_unref(ioc);

    ioc = open_with(uri, options_of("mode", "w", NULL));
    close_and_unref(ioc);
    check_content("data", "");
    umask(old);
    g_free(uri);
}

TEST(file_is_created_less_the_umask)
{
    char *uri = path_uri("file", "new");
    mode_t old = umask(027);
    struct stat st;

    close_and_unref(open_with(uri, options_of("mode", "rw", NULL)));
    umask(old);
    CHECK_INT(stat(uri + strlen("file:"), &st), ==, 0);
    CHECK_INT(st.st_mode & 07777, ==, 0640);
    g_free(uri);
}

/* ---- what is allowed ---- */

TEST(exec_needs_to_be_allowed)
{
    Error *err = refused_with("exec:true", NULL);

    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_SYSTEM);
    CHECK_INT(qio_error_get_errno(err), ==, EACCES);
    CHECK_STR_HAS(qio_error_get_pretty(err), "exec: needs \"exec\" or \"all\" in the key");
    qio_error_free(err);
    check_refused("tls+ws+exec:true", NULL, QIO_ERROR_SYSTEM,
                  "URI at position 7: exec: needs \"exec\"");
    check_refused("exec:true?allow=all", NULL, QIO_ERROR_INVAL, "cannot be part of a URI");
    close_and_unref(open_with("exec:true", options_of("allow", "all", NULL)));
    close_and_unref(open_with("exec:true", options_of("allow", "exec", NULL)));
    close_and_unref(open_with("exec:true", options_of("allow", "net", "allow", "null,exec", NULL)));
}

TEST(files_named_by_a_key_need_all)
{
    static const char *const keys[] = {
        "tls-dir", "tls-ca", "tls-cert", "tls-key", "tls-crl", "tls-psk-file",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        char *uri = g_strdup_printf("tls+unix:/nowhere?name=x&%s=/etc/x", keys[i]);
        char *part = g_strdup_printf("URI at position 25: the key \"%s\" names a file, which needs "
                                     "\"all\"", keys[i]);
        QIOOptions *all = options_of("allow", "all", NULL);
        QIOUri *parsed;

        check_refused(uri, NULL, QIO_ERROR_SYSTEM, part);
        check_refused(uri, options_of("allow", "unix,file", NULL), QIO_ERROR_SYSTEM, part);
        /* What the caller names is the caller's business, and does not excuse the URI. */
        check_refused(uri, options_of("tls-ca", "/etc/y", NULL), QIO_ERROR_SYSTEM, part);
        parsed = qio_uri_parse_allowed(uri, all, NULL);
        CHECK_STR(qio_options_get_str(parsed->options, keys[i], NULL), "/etc/x");
        qio_uri_free(parsed);
        qio_options_free(all);

        all = options_of(keys[i], "/etc/x", NULL);
        parsed = qio_uri_parse_allowed("tls+unix:/nowhere", all, NULL);
        CHECK_STR(qio_options_get_str(parsed->options, keys[i], NULL), "/etc/x");
        qio_uri_free(parsed);
        qio_options_free(all);
        g_free(uri);
        g_free(part);
    }
}

TEST(allow_replaces_the_default)
{
    static const struct {
        const char *uri, *name;
    } rows[] = {
        { "tcp://127.0.0.1:1", "net" }, { "unix:/nowhere", "unix" },
        { "abstract:nowhere", "unix" }, { "vsock://1:1", "vsock" }, { "fd:0", "fd" },
        { "file:/dev/null", "file" }, { "exec:true", "exec" }, { "buffer:", "buffer" },
        { "null:", "null" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *other = strcmp(rows[i].name, "null") == 0 ? "buffer" : "null";
        char *part = g_strdup_printf("needs \"%s\" or \"all\"", rows[i].name);

        check_refused(rows[i].uri, options_of("allow", other, NULL), QIO_ERROR_SYSTEM, part);
        g_free(part);
    }
    close_and_unref(open_with("null:", options_of("allow", "buffer,null", NULL)));
}

/* ---- options ---- */

TEST(callers_options_win)
{
    QIOChannel *ioc = open_with("null:?name=from%20the%20uri",
                                options_of("name", "from the caller", NULL));

    CHECK_STR(ioc->name, "from the caller");
    close_and_unref(ioc);
    check_refused("null:", options_of("nodelay", "on", NULL), QIO_ERROR_INVAL,
                  "the key \"nodelay\" has no use with null:");
    check_refused("null:?nam=x", NULL, QIO_ERROR_INVAL, "the nearest is \"name\"");
}

/* ---- descriptors ---- */

TEST(fd_is_taken_on_success_only)
{
    int fds[2];
    char uri[32];
    QIOChannel *ioc;

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    g_snprintf(uri, sizeof(uri), "fd:%d", fds[0]);
    check_refused(uri, options_of("mode", "r", NULL), QIO_ERROR_INVAL, "\"mode\"");
    CHECK_INT(fcntl(fds[0], F_GETFD), !=, -1);

    ioc = open_with(uri, NULL);
    check_class(ioc, TYPE_QIO_CHANNEL_FILE);
    CHECK_INT(qio_channel_get_fd(ioc, NULL), ==, fds[0]);
    close_and_unref(ioc);
    CHECK_ERRNO(fcntl(fds[0], F_GETFD), EBADF);
    close(fds[1]);

    qio_error_free(refused_with(uri, NULL));    /* it is closed */

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_snprintf(uri, sizeof(uri), "fd:%d", fds[0]);
    ioc = open_with(uri, NULL);
    check_class(ioc, TYPE_QIO_CHANNEL_SOCKET);
    close_and_unref(ioc);
    close(fds[1]);
}

TEST(connecting_to_an_fd)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr;
    Error *err = NULL;
    char text[32];
    int fds[2];

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    g_snprintf(text, sizeof(text), "fd:%d", fds[0]);
    addr = qio_address_parse(text, NULL);
    CHECK_INT(qio_channel_socket_connect_sync(ioc, addr, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "not a socket");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(fcntl(fds[0], F_GETFD), !=, -1);
    close(fds[0]);
    close(fds[1]);
    qio_address_free(addr);

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_snprintf(text, sizeof(text), "fd:%d", fds[0]);
    addr = qio_address_parse(text, NULL);
    CHECK_INT(qio_channel_socket_connect_sync(ioc, addr, &err), ==, 0);
    CHECK(qio_channel_has_feature((QIOChannel *)ioc, QIO_CHANNEL_FEATURE_FD_PASS));
    write_all((QIOChannel *)ioc, "x");
    CHECK_INT(read(fds[1], text, sizeof(text)), ==, 1);
    /* A channel has one descriptor; the second stays the caller's. */
    CHECK_INT(qio_channel_socket_connect_sync(ioc, addr, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_BUSY);
    qio_error_free(err);
    qio_address_free(addr);
    close_and_unref((QIOChannel *)ioc);
    close(fds[1]);
}

/* ---- commands ---- */

TEST(exec_runs_what_it_says)
{
    QIOChannel *ioc = open_with("exec:sh?arg=-c&arg=echo%20%22$0-$1-$A%22;pwd;cat&arg=zero"
                                "&arg=&env=A=b&cwd=/&name=child",
                                options_of("allow", "all", NULL));
    char *text;

    check_class(ioc, TYPE_QIO_CHANNEL_COMMAND);
    CHECK_STR(ioc->name, "child");
    write_all(ioc, "input\n");
    CHECK_INT(qio_channel_shutdown(ioc, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    text = read_to_end(ioc);
    CHECK_STR(text, "zero--b\n/\ninput\n");
    g_free(text);
    close_and_unref(ioc);
}

/* What "env" prints with the options; frees them. */
static char *environment_with(QIOOptions *options)
{
    const char *argv[] = { "env", NULL };
    Error *err = NULL;
    QIOChannel *ioc = (QIOChannel *)qio_channel_command_new_options(argv, options, &err);
    char *text;

    qio_options_free(options);
    CHECK_PTR(err, ==, NULL);
    text = read_to_end(ioc);
    close_and_unref(ioc);
    return text;
}

TEST(environment)
{
    char *text;

    g_setenv("QIO_TEST_INHERITED", "yes", TRUE);
    text = environment_with(NULL);
    CHECK_STR_HAS(text, "QIO_TEST_INHERITED=yes\n");
    g_free(text);
    text = environment_with(options_of("env", "A=1", "env", "B=2", NULL));
    CHECK_STR(text, "A=1\nB=2\n");
    g_free(text);
    text = environment_with(options_of("env", "", NULL));
    CHECK_STR(text, "");
    g_free(text);
    g_unsetenv("QIO_TEST_INHERITED");
}

/* What a command writes to its standard error, as seen on its standard output. */
static void check_stderr(QIOOptions *options, const char *expected)
{
    const char *argv[] = { "sh", "-c", "echo wrong >&2", NULL };
    Error *err = NULL;
    QIOChannelCommand *ioc = qio_channel_command_new_options(argv, options, &err);
    char *text;

    qio_options_free(options);
    CHECK_PTR(err, ==, NULL);
    text = read_to_end((QIOChannel *)ioc);
    CHECK_STR(text, expected);
    g_free(text);
    close_and_unref((QIOChannel *)ioc);
}

TEST(standard_error)
{
    QIOOptions *options = qio_options_new();
    int fds[2];
    char buf[16];

    check_stderr(options_of("stderr", "merge", NULL), "wrong\n");
    check_stderr(options_of("stderr", "null", NULL), "");
    check_stderr(options_of("stderr", "pipe", NULL), "");

    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    qio_options_set_int(options, "stderr-fd", fds[1], NULL);
    check_stderr(options, "");
    CHECK_INT(read(fds[0], buf, sizeof(buf)), ==, 6);
    close(fds[0]);
    close(fds[1]);
}

TEST(commands_refuse_what_makes_no_sense)
{
    const char *argv[] = { "true", NULL };
    QIOOptions *options = options_of("stderr", "null", NULL);
    Error *err = NULL;

    qio_options_set_int(options, "stderr-fd", 2, NULL);
    CHECK_PTR(qio_channel_command_new_options(argv, options, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "\"stderr\" and \"stderr-fd\" exclude each other");
    g_clear_pointer(&err, qio_error_free);
    qio_options_free(options);

    options = options_of("nodelay", "on", NULL);
    CHECK_PTR(qio_channel_command_new_options(argv, options, &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "has no use with exec:");
    qio_error_free(err);
    qio_options_free(options);

    check_refused("exec:/no/such/program", options_of("allow", "all", NULL), QIO_ERROR_SYSTEM,
                  "/no/such/program");
}

/* ---- sockets ---- */

static QIOChannelSocket *listen_on(const char *text, char **chosen)
{
    QIOAddress *addr = qio_address_parse(text, NULL);
    QIOChannelSocket *ioc = qio_channel_socket_new();
    Error *err = NULL;

    if (qio_channel_socket_listen_sync(ioc, addr, 1, &err) < 0) {
        test_fail(__FILE__, __LINE__, "%s: %s", text, qio_error_get_pretty(err));
    }
    qio_address_free(addr);
    addr = qio_channel_socket_get_local_address(ioc, NULL);
    *chosen = qio_address_format(addr);
    qio_address_free(addr);
    return ioc;
}

static int tcp_flag(QIOChannel *ioc, int level, int name)
{
    socklen_t len = sizeof(int);
    int value;

    CHECK_INT(getsockopt(qio_channel_get_fd(ioc, NULL), level, name, &value, &len), ==, 0);
    return value;
}

TEST(tcp_options)
{
    char *uri;
    QIOChannelSocket *listening = listen_on("tcp://127.0.0.1:0", &uri);
    QIOChannel *ioc = open_with(uri, options_of("nodelay", "on", "keep-alive", "on", "name", "n",
                                                NULL));

    CHECK_INT(tcp_flag(ioc, IPPROTO_TCP, TCP_NODELAY), ==, 1);
    CHECK_INT(tcp_flag(ioc, SOL_SOCKET, SO_KEEPALIVE), ==, 1);
    CHECK_STR(ioc->name, "n");
    CHECK(qio_channel_get_blocking(ioc));
    CHECK_INT(fcntl(qio_channel_get_fd(ioc, NULL), F_GETFL) & O_NONBLOCK, ==, 0);
    close_and_unref(ioc);

    ioc = open_with(uri, NULL);
    CHECK_INT(tcp_flag(ioc, IPPROTO_TCP, TCP_NODELAY), ==, 0);
    CHECK_INT(tcp_flag(ioc, SOL_SOCKET, SO_KEEPALIVE), ==, 0);
    close_and_unref(ioc);

    check_refused(uri, options_of("ipv4", "off", NULL), QIO_ERROR_INVAL,
                  "\"127.0.0.1\" is an IPv4 address, and the key \"ipv4\" is off");
    check_refused(uri, options_of("ipv4", "off", "ipv6", "off", NULL), QIO_ERROR_INVAL,
                  "both off");
    check_refused("tcp://[::1]:1", options_of("ipv6", "off", NULL), QIO_ERROR_INVAL, "IPv6");
    close_and_unref((QIOChannel *)listening);
    check_refused(uri, NULL, QIO_ERROR_SYSTEM, uri);
    g_free(uri);
}

TEST(what_cannot_be_connected_to)
{
    check_refused("tcp://:1", NULL, QIO_ERROR_INVAL, "host");
    check_refused("tcp://127.0.0.1:0", NULL, QIO_ERROR_INVAL, "port");
    check_refused("unix:", NULL, QIO_ERROR_INVAL, "empty");
    check_refused("unix:/no/such/socket", NULL, QIO_ERROR_SYSTEM, "unix:/no/such/socket");
    check_refused("abstract:no-such-socket", NULL, QIO_ERROR_SYSTEM, "abstract:no-such-socket");
}

TEST(null_addresses)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();
    QIOAddress *addr = qio_address_new_inet("127.0.0.1", 0);
    Error *err = NULL;

    CHECK_INT(qio_channel_socket_connect_sync(ioc, NULL, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "NULL");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_socket_listen_sync(ioc, NULL, 1, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "NULL");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_socket_listen_sync(ioc, addr, 0, &err), ==, -1);
    CHECK_STR_HAS(qio_error_get_pretty(err), "backlog");
    qio_error_free(err);
    qio_address_free(addr);
    qio_object_unref(ioc);
}

/* A unix listener whose queue is full keeps everybody waiting. */
static char *full_listener(QIOChannelSocket **listening, GPtrArray *clients)
{
    char *uri = path_uri("unix", "full");
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char *chosen;

    *listening = listen_on(uri, &chosen);
    CHECK_STR(chosen, uri);
    g_free(chosen);
    g_strlcpy(sun.sun_path, uri + strlen("unix:"), sizeof(sun.sun_path));
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        g_ptr_array_add(clients, GINT_TO_POINTER(fd));
        if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
            CHECK_INT(errno, ==, EAGAIN);
            return uri;
        }
    }
}

static void close_clients(GPtrArray *clients)
{
    for (size_t i = 0; i < clients->len; i++) {
        close(GPOINTER_TO_INT(g_ptr_array_index(clients, i)));
    }
    g_ptr_array_free(clients, TRUE);
}

TEST(one_deadline_over_all)
{
    GPtrArray *clients = g_ptr_array_new();
    QIOChannelSocket *listening;
    char *uri = full_listener(&listening, clients);

    testclock_install();
    check_refused(uri, options_of("timeout", "12.5", NULL), QIO_ERROR_TIMEOUT, uri);
    CHECK_INT(testclock_elapsed_ms(), >=, 12500);
    CHECK_INT(testclock_elapsed_ms(), <=, 12600);
    testclock_remove();

    testclock_install();
    check_refused(uri, NULL, QIO_ERROR_TIMEOUT, uri);
    CHECK_INT(testclock_elapsed_ms(), >=, 30000);
    CHECK_INT(testclock_elapsed_ms(), <=, 30100);
    testclock_remove();

    testclock_install();
    check_refused(uri, options_of("timeout", "0", NULL), QIO_ERROR_TIMEOUT, uri);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    testclock_remove();

    close_clients(clients);
    close_and_unref((QIOChannel *)listening);
    g_free(uri);
}

TEST(a_signal_ends_it_when_asked_for)
{
    GPtrArray *clients = g_ptr_array_new();
    QIOChannelSocket *listening;
    char *uri = full_listener(&listening, clients);
    Error *err = NULL;

    testclock_install();
    seam_fail(SEAM_poll, 3, 1, EINTR);
    CHECK_PTR(qio_channel_open_uri(uri, NULL, true, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INTR);
    g_clear_pointer(&err, qio_error_free);
    testclock_remove();

    testclock_install();
    seam_fail(SEAM_poll, 3, 1, EINTR);
    CHECK_PTR(qio_channel_open_uri(uri, NULL, false, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TIMEOUT);
    qio_error_free(err);
    testclock_remove();

    close_clients(clients);
    close_and_unref((QIOChannel *)listening);
    g_free(uri);
}
