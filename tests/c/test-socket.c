/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-socket.c: the socket channel's transfers, shutdown and end.
 *
 * Owns: the promises of channel-socket.h on a socket that is there.  Descriptors that travel are
 * test-socket-fds.c; how a socket comes to be, test-socket-connect.c and test-socket-listen.c.
 */
#include "socket-pair.h"
#include "seam.h"
#include "torture.h"

#include <netinet/in.h>
#include <pthread.h>
#include <qio/channel-file.h>

/* ---- transfers ---- */

TEST(both_ways)
{
    QIOChannel *a, *b;
    char buf[16];

    pair(&a, &b);
    CHECK_INT(qio_channel_write(a, "hello", 5, NULL), ==, 5);
    CHECK_INT(qio_channel_read(b, buf, sizeof(buf), NULL), ==, 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(qio_channel_write(b, "x", 1, NULL), ==, 1);
    CHECK_INT(qio_channel_read(a, buf, 1, NULL), ==, 1);
    CHECK_INT(qio_channel_close(a, NULL), ==, 0);
    CHECK_INT(qio_channel_read(b, buf, 1, NULL), ==, 0);
    drop(a, b);
}

TEST(several_blocks)
{
    QIOChannel *a, *b;
    char one[3], two[4];
    struct iovec out[] = { { NULL, 0 }, { (void *)"ab", 2 }, { NULL, 0 }, { (void *)"cdefg", 5 } };
    struct iovec in[] = { { one, 3 }, { NULL, 0 }, { two, 4 } };
    struct iovec many[2000], big;
    char bytes[2000], got[2000];

    pair(&a, &b);
    CHECK_INT(qio_channel_writev(a, out, 4, NULL), ==, 7);
    CHECK_INT(qio_channel_readv(b, in, 3, NULL), ==, 7);
    CHECK_MEM(one, "abc", 3);
    CHECK_MEM(two, "defg", 4);
    for (int i = 0; i < 2000; i++) {
        bytes[i] = (char)i;
        many[i] = (struct iovec) { bytes + i, 1 };
    }
    CHECK_INT(qio_channel_writev_all(a, many, 2000, NULL), ==, 0);
    big = (struct iovec) { got, 2000 };
    CHECK_INT(qio_channel_readv_all(b, &big, 1, NULL), ==, 0);
    CHECK_MEM(got, bytes, 2000);
    drop(a, b);
}

TEST(would_block_leaves_the_error_alone)
{
    QIOChannel *a, *b;
    Error *err = NULL;
    char buf[70000];
    ssize_t n;

    memset(buf, 1, sizeof(buf));
    pair(&a, &b);
    CHECK_INT(qio_channel_set_blocking(a, false, NULL), ==, 0);
    CHECK_INT(qio_channel_read(a, buf, 1, &err), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_PTR(err, ==, NULL);
    do {
        n = qio_channel_write(a, buf, sizeof(buf), &err);
    } while (n > 0);
    CHECK_INT(n, ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_PTR(err, ==, NULL);
    drop(a, b);
}

TEST(nothing_to_move_ignores_errno)
{
    QIOChannel *a, *b;
    const int numbers[] = { EINTR, EAGAIN, EPIPE };
    char byte;

    pair(&a, &b);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        errno = numbers[i];
        CHECK_INT(qio_channel_read(a, &byte, 0, NULL), ==, 0);
        CHECK_INT(qio_channel_write(a, &byte, 0, NULL), ==, 0);
    }
    drop(a, b);
}

TEST(signals_and_short_transfers_do_not_show)
{
    QIOChannel *a, *b;
    char buf[8];

    seam_install();
    seam_fail(SEAM_send, 1, 3, EINTR);
    seam_fail(SEAM_recv, 1, 3, EINTR);
    seam_fail(SEAM_recvmsg, 1, 3, EINTR);
    seam_shorten(SEAM_send, 4, SEAM_ALWAYS, SEAM_ONE_BYTE);
    pair(&a, &b);
    CHECK_INT(qio_channel_write_all(a, "1234567", 7, NULL), ==, 0);
    CHECK_INT(qio_channel_read_all(b, buf, 7, NULL), ==, 0);
    CHECK_MEM(buf, "1234567", 7);
    CHECK_INT(seam_hits(SEAM_send), >=, 10);
    drop(a, b);
    seam_remove();
}

TEST(errors_keep_their_errno)
{
    QIOChannel *a, *b;
    Error *err = NULL;
    char byte;

    seam_install();
    seam_fail(SEAM_recv, 1, 1, ECONNRESET);
    pair(&a, &b);
    CHECK_INT(qio_channel_read(a, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_SYSTEM);
    CHECK_INT(qio_error_get_errno(err), ==, ECONNRESET);
    qio_error_free(err);
    drop(a, b);
    seam_remove();
}

/* The runner fails a test that SIGPIPE reaches; the disposition is the default one. */
TEST(no_sigpipe)
{
    QIOChannel *a, *b;
    Error *err = NULL;
    struct iovec iov[2] = { { (void *)"a", 1 }, { (void *)"b", 1 } };
    struct sigaction action;

    CHECK_INT(sigaction(SIGPIPE, NULL, &action), ==, 0);
    pair(&a, &b);
    qio_object_unref(b);
    CHECK_INT(qio_channel_write(a, "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    qio_error_free(err);
    CHECK_INT(qio_channel_writev(a, iov, 2, NULL), ==, -1);
    qio_object_unref(a);
}

TEST(the_flags_of_others_stay)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        int fds[2], flags;
        QIOChannel *a;
        char byte;

        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0, fds),
                  ==, 0);
        flags = fcntl(fds[0], F_GETFL);
        a = QIO_CHANNEL(qio_channel_socket_new_fd(fds[0], NULL));
        for (int mode = 0; mode < 2; mode++) {
            CHECK_INT(qio_channel_set_blocking(a, mode, NULL), ==, 0);
            CHECK_INT(qio_channel_try_read(a, &byte, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
            CHECK_INT(write(fds[1], "x", 1), ==, 1);
            CHECK_INT(qio_channel_read(a, &byte, 1, NULL), ==, 1);
            CHECK_INT(fcntl(fds[0], F_GETFL), ==, flags);
        }
        qio_object_unref(a);
        close(fds[1]);
    }
}

/* ---- one megabyte through a small buffer, both ends blocking or not ---- */

enum { CHUNK = 4194, CHUNKS = 250 };

static void fill(char *buf, int i)
{
    for (int k = 0; k < CHUNK; k++) {
        buf[k] = (char)(i * 31 + k);
    }
}

static void *send_chunks(void *opaque)
{
    char buf[CHUNK];

    for (int i = 0; i < CHUNKS; i++) {
        fill(buf, i);
        CHECK_INT(qio_channel_write_all(opaque, buf, CHUNK, NULL), ==, 0);
    }
    CHECK_INT(qio_channel_shutdown(opaque, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    return NULL;
}

TEST(one_megabyte)
{
    for (int mode = 0; mode < 2; mode++) {
        QIOChannel *a, *b;
        int small = 4096;
        pthread_t sender;
        char buf[CHUNK], want[CHUNK];

        pair(&a, &b);
        setsockopt(fd_of(a), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
        qio_channel_set_blocking(a, mode, NULL);
        qio_channel_set_blocking(b, mode, NULL);
        CHECK_INT(pthread_create(&sender, NULL, send_chunks, a), ==, 0);
        for (int i = 0; i < CHUNKS; i++) {
            CHECK_INT(qio_channel_read_all(b, buf, CHUNK, NULL), ==, 0);
            fill(want, i);
            CHECK_MEM(buf, want, CHUNK);
        }
        CHECK_INT(qio_channel_read_all_eof(b, buf, 1, NULL), ==, 0);
        pthread_join(sender, NULL);
        drop(a, b);
    }
}

/* ---- before there is a descriptor, and around one ---- */

TEST(a_new_one_fails_cleanly)
{
    QIOChannelSocket *sioc = qio_channel_socket_new();
    QIOChannel *ioc = QIO_CHANNEL(sioc);
    Error *err = NULL;
    char byte;

    CHECK(qio_channel_has_feature(ioc, QIO_CHANNEL_FEATURE_SHUTDOWN));
    CHECK_INT(qio_channel_read(ioc, &byte, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, ENOTCONN);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_write(ioc, &byte, 1, NULL), ==, -1);
    CHECK_INT(qio_channel_shutdown(ioc, QIO_CHANNEL_SHUTDOWN_BOTH, NULL), ==, -1);
    CHECK_INT(qio_channel_get_fd(ioc, NULL), ==, -1);
    CHECK_INT(qio_channel_take_fd(ioc, NULL), ==, -1);
    qio_object_unref(ioc);

    sioc = qio_channel_socket_new();
    qio_channel_set_delay(QIO_CHANNEL(sioc), false);
    qio_channel_set_cork(QIO_CHANNEL(sioc), true);
    CHECK_PTR(qio_channel_socket_accept(sioc, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_channel_socket_get_local_address(sioc, &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_channel_socket_get_remote_address(sioc, NULL), ==, NULL);
    CHECK_INT(qio_channel_socket_get_peer_cred(sioc, NULL, NULL, NULL, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_NOTSUP);
    qio_error_free(err);
    CHECK_INT(qio_channel_close(QIO_CHANNEL(sioc), NULL), ==, 0);
    qio_object_unref(sioc);
}

TEST(new_fd_takes_sockets_only)
{
    Error *err = NULL;
    int fds[2];
    int fd;
    QIOChannelSocket *ioc;

    CHECK_INT(pipe(fds), ==, 0);
    CHECK_PTR(qio_channel_socket_new_fd(fds[0], &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "not a socket");
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(close(fds[0]), ==, 0);
    CHECK_INT(close(fds[1]), ==, 0);
    CHECK_PTR(qio_channel_socket_new_fd(fds[0], &err), ==, NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "not an open descriptor");
    g_clear_pointer(&err, qio_error_free);
    CHECK_PTR(qio_channel_socket_new_fd(-1, NULL), ==, NULL);

    fd = socket(AF_INET, SOCK_STREAM, 0);
    ioc = qio_channel_socket_new_fd(fd, NULL);
    CHECK(!qio_channel_has_feature(QIO_CHANNEL(ioc), QIO_CHANNEL_FEATURE_FD_PASS));
    CHECK(!qio_channel_has_feature(QIO_CHANNEL(ioc), QIO_CHANNEL_FEATURE_LISTEN));
    CHECK_PTR(qio_channel_socket_get_remote_address(ioc, NULL), ==, NULL);
    qio_object_unref(ioc);

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    ioc = qio_channel_socket_new_fd(fds[0], NULL);
    CHECK(qio_channel_has_feature(QIO_CHANNEL(ioc), QIO_CHANNEL_FEATURE_FD_PASS));
    CHECK_INT(fd_of(QIO_CHANNEL(ioc)), ==, fds[0]);
    qio_object_unref(ioc);
    close(fds[1]);
}

TEST(new_fd_finds_the_right_class)
{
    int fds[2];
    QIOChannel *ioc;
    Error *err = NULL;

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    ioc = qio_channel_new_fd(fds[0], NULL);
    CHECK_STR(qio_object_get_typename((Object *)ioc), TYPE_QIO_CHANNEL_SOCKET);
    qio_object_unref(ioc);
    close(fds[1]);
    CHECK_INT(pipe(fds), ==, 0);
    ioc = qio_channel_new_fd(fds[0], NULL);
    CHECK_STR(qio_object_get_typename((Object *)ioc), TYPE_QIO_CHANNEL_FILE);
    qio_object_unref(ioc);
    close(fds[1]);
    CHECK_PTR(qio_channel_new_fd(fds[1], &err), ==, NULL);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
}

/* ---- shutdown ---- */

TEST(shutdown_each_way)
{
    QIOChannel *a, *b;
    Error *err = NULL;
    char byte;

    pair(&a, &b);
    CHECK_INT(qio_channel_shutdown(a, QIO_CHANNEL_SHUTDOWN_WRITE, NULL), ==, 0);
    CHECK_INT(qio_channel_read(b, &byte, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_write(b, "x", 1, NULL), ==, 1);
    CHECK_INT(qio_channel_read(a, &byte, 1, NULL), ==, 1);
    CHECK_INT(qio_channel_write(a, "x", 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EPIPE);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_shutdown(a, QIO_CHANNEL_SHUTDOWN_READ, NULL), ==, 0);
    CHECK_INT(qio_channel_read(a, &byte, 1, NULL), ==, 0);
    CHECK_INT(qio_channel_shutdown(b, QIO_CHANNEL_SHUTDOWN_BOTH, NULL), ==, 0);
    CHECK_INT(qio_channel_shutdown(b, (QIOChannelShutdown)3, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    drop(a, b);
}

static void *read_one(void *opaque)
{
    char byte;

    return GINT_TO_POINTER(qio_channel_read(opaque, &byte, 1, NULL) + 10);
}

TEST(shutdown_wakes_a_reader)
{
    QIOChannel *a, *b;
    pthread_t reader;
    void *result;

    pair(&a, &b);
    CHECK_INT(pthread_create(&reader, NULL, read_one, a), ==, 0);
    CHECK_INT(qio_channel_shutdown(a, QIO_CHANNEL_SHUTDOWN_READ, NULL), ==, 0);
    pthread_join(reader, &result);
    CHECK_INT(GPOINTER_TO_INT(result), ==, 10);
    drop(a, b);
}

/* ---- ending ---- */

TEST(a_failing_close_closes_once)
{
    QIOChannel *a, *b;
    Error *err = NULL;
    int fd;

    seam_install();
    seam_fail(SEAM_close, 1, 1, EIO);
    pair(&a, &b);
    fd = fd_of(a);
    CHECK_INT(qio_channel_close(a, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EIO);
    qio_error_free(err);
    CHECK_INT(dup2(0, fd), ==, fd);
    CHECK_INT(qio_channel_close(a, NULL), ==, 0);
    qio_object_unref(a);
    CHECK_INT(close(fd), ==, 0);
    qio_object_unref(b);
    seam_remove();
}

TEST(an_interrupted_close_is_a_close)
{
    QIOChannel *a, *b;

    seam_install();
    seam_fail(SEAM_close, 1, 1, EINTR);
    pair(&a, &b);
    CHECK_INT(qio_channel_close(a, NULL), ==, 0);
    CHECK_INT(seam_hits(SEAM_close), ==, 1);
    drop(a, b);
    seam_remove();
}

TEST(take_fd)
{
    QIOChannel *a, *b;
    char byte;
    int fd;

    pair(&a, &b);
    fd = qio_channel_take_fd(a, NULL);
    CHECK_INT(fd, >=, 0);
    CHECK(qio_channel_is_closed(a));
    qio_object_unref(a);
    CHECK_INT(write(fd, "x", 1), ==, 1);
    CHECK_INT(qio_channel_read(b, &byte, 1, NULL), ==, 1);
    close(fd);
    qio_object_unref(b);
}

TEST(peer_credentials)
{
    QIOChannelSocket *a, *b;
    pid_t pid;
    uid_t uid;
    gid_t gid;
    Error *err = NULL;

    CHECK_INT(qio_channel_socket_new_pair(&a, &b, NULL), ==, 0);
    CHECK_INT(qio_channel_socket_get_peer_cred(a, &pid, &uid, &gid, NULL), ==, 0);
    CHECK_INT(pid, ==, getpid());
    CHECK_INT(uid, ==, geteuid());
    CHECK_INT(gid, ==, getegid());
    qio_channel_close(QIO_CHANNEL(a), NULL);
    CHECK_INT(qio_channel_socket_get_peer_cred(a, &pid, &uid, &gid, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_CLOSED);
    qio_error_free(err);
    drop(QIO_CHANNEL(a), QIO_CHANNEL(b));
}

/* ---- every call fails in turn ---- */

static void transfer_scenario(void)
{
    QIOChannelSocket *sa, *sb;
    QIOChannel *a, *b;
    struct iovec out[2] = { { (void *)"12345", 5 }, { (void *)"678", 3 } };
    char buf[16] = "";
    struct iovec in = { buf, 8 };
    int *fds = NULL;
    size_t nfds = 0;
    int zero = 0;
    ssize_t n;

    if (qio_channel_socket_new_pair(&sa, &sb, NULL) < 0) {
        CHECK(torture_may_fail());
        return;
    }
    a = QIO_CHANNEL(sa);
    b = QIO_CHANNEL(sb);
    n = qio_channel_writev_full(a, out, 2, &zero, 1, NULL);
    CHECK(n > 0 || torture_may_fail());
    if (n > 0) {
        n = qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL);
        CHECK(n > 0 || torture_may_fail());
        CHECK(n <= 0 || nfds == 1);
        close_all(fds, nfds);
    }
    if (qio_channel_write_all(b, "answer", 6, NULL) == 0) {
        CHECK(qio_channel_read_all(a, buf, 6, NULL) == 0 || torture_may_fail());
    } else {
        CHECK(torture_may_fail());
    }
    CHECK(qio_channel_shutdown(a, QIO_CHANNEL_SHUTDOWN_WRITE, NULL) == 0 || torture_may_fail());
    CHECK(qio_channel_close(a, NULL) == 0 || torture_may_fail());
    drop(a, b);
}

TEST(torture_transfers, .timeout_s = 100)
{
    torture(transfer_scenario, 20);
}
