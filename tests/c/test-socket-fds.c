/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-socket-fds.c: descriptors that travel over a socket.
 *
 * Owns: the promises about them: up to 253, all with the first byte, close-on-exec, nobody's
 * flags changed, none lost or leaked, truncation noticed.  The runner finds leaks.
 */
#include "socket-pair.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <errno.h>

/* Sends n copies of one pipe end, reads them, and checks that each is that pipe. */
static void send_and_receive(QIOChannel *a, QIOChannel *b, size_t n)
{
    struct iovec out = { (void *)"hello", 5 };
    char buf[10];
    struct iovec in = { buf, sizeof(buf) };
    struct stat sent, got;
    int ends[2], out_fds[253];
    int *fds = (int *)1;
    size_t nfds = 77;

    test_note("%zu descriptors", n);
    CHECK_INT(pipe2(ends, O_NONBLOCK), ==, 0);
    for (size_t i = 0; i < n; i++) {
        out_fds[i] = ends[i % 2];
    }
    CHECK_INT(qio_channel_writev_full(a, &out, 1, n ? out_fds : NULL, n, NULL), ==, 5);
    CHECK_INT(qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL), ==, 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(nfds, ==, n);
    CHECK((fds == NULL) == (n == 0));
    CHECK_INT(fstat(ends[0], &sent), ==, 0);
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(fstat(fds[i], &got), ==, 0);
        CHECK_INT(got.st_ino, ==, sent.st_ino);
        CHECK_INT(fcntl(fds[i], F_GETFD), ==, FD_CLOEXEC);
        CHECK(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
    }
    CHECK(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    close_all(fds, nfds);
    close(ends[0]);
    close(ends[1]);
}

TEST(descriptors)
{
    static const size_t counts[] = { 0, 1, 2, 16, 17, 252, 253 };
    QIOChannel *a, *b;

    pair(&a, &b);
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        send_and_receive(a, b, counts[i]);
    }
    drop(a, b);
}

TEST(descriptors_that_cannot_go)
{
    QIOChannel *a, *b;
    struct iovec iov = { (void *)"x", 1 }, none = { NULL, 0 };
    int fds[254];
    Error *err = NULL;
    char byte;

    for (int i = 0; i < 254; i++) {
        fds[i] = 0;
    }
    pair(&a, &b);
    CHECK_INT(qio_channel_writev_full(a, &iov, 1, fds, 254, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    CHECK_INT(qio_channel_writev_full(a, &none, 1, fds, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    g_clear_pointer(&err, qio_error_free);
    fds[0] = -1;
    CHECK_INT(qio_channel_writev_full(a, &iov, 1, fds, 1, &err), ==, -1);
    CHECK_INT(qio_error_get_errno(err), ==, EBADF);
    g_clear_pointer(&err, qio_error_free);
    qio_channel_set_blocking(b, false, NULL);
    CHECK_INT(qio_channel_read(b, &byte, 1, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    drop(a, b);
}

TEST(an_o_path_descriptor_goes_too)
{
    QIOChannel *a, *b;
    struct iovec iov = { (void *)"x", 1 };
    char byte;
    struct iovec in = { &byte, 1 };
    int fd = open("/", O_PATH | O_CLOEXEC);
    int *fds;
    size_t nfds;

    pair(&a, &b);
    CHECK_INT(qio_channel_writev_full(a, &iov, 1, &fd, 1, NULL), ==, 1);
    CHECK_INT(qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL), ==, 1);
    CHECK_INT(nfds, ==, 1);
    close_all(fds, nfds);
    close(fd);
    drop(a, b);
}

/* All descriptors go with the first byte of a write that is cut short; two messages with
 * descriptors are never merged. */
TEST(descriptors_with_partial_writes)
{
    static char big[1 << 20], got[1 << 20];
    QIOChannel *a, *b;
    struct iovec out = { big, sizeof(big) }, in = { got, 100 };
    int ends[2];
    int *fds;
    size_t nfds;
    ssize_t n;

    CHECK_INT(pipe(ends), ==, 0);
    pair(&a, &b);
    qio_channel_set_blocking(a, false, NULL);
    n = qio_channel_writev_full(a, &out, 1, ends, 2, NULL);
    CHECK_INT(n, >, 0);
    CHECK_INT(n, <, sizeof(big));
    CHECK_INT(qio_channel_writev_full(a, &out, 1, ends, 2, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_INT(qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL), ==, 100);
    CHECK_INT(nfds, ==, 2);
    close_all(fds, nfds);
    in.iov_len = sizeof(got);
    for (n -= 100; n > 0;) {
        ssize_t r = qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL);

        CHECK_INT(r, >, 0);
        CHECK_INT(nfds, ==, 0);
        CHECK_PTR(fds, ==, NULL);
        n -= r;
    }
    qio_channel_set_blocking(b, false, NULL);
    CHECK_INT(qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL), ==, QIO_CHANNEL_ERR_BLOCK);
    CHECK_PTR(fds, ==, NULL);
    close(ends[0]);
    close(ends[1]);
    drop(a, b);
}

/* The sender's copies are closed, so a reader of the pipe sees the end once ours are. */
TEST(a_plain_read_closes_what_came)
{
    QIOChannel *a, *b;
    struct iovec out = { (void *)"abc", 3 };
    char one[1], two[2];
    struct iovec in[2] = { { one, 1 }, { two, 2 } };
    int ends[2];

    pair(&a, &b);
    for (int several = 0; several < 2; several++) {
        CHECK_INT(pipe(ends), ==, 0);
        CHECK_INT(qio_channel_writev_full(a, &out, 1, &ends[1], 1, NULL), ==, 3);
        close(ends[1]);
        if (several) {
            CHECK_INT(qio_channel_readv(b, in, 2, NULL), ==, 3);
        } else {
            CHECK_INT(qio_channel_read_all(b, two, 1, NULL), ==, 0);
            CHECK_INT(qio_channel_read_all(b, two, 2, NULL), ==, 0);
        }
        CHECK_INT(read(ends[0], one, 1), ==, 0);
        close(ends[0]);
    }
    drop(a, b);
}

/* The descriptor table takes only some of what came: the rest is lost, so all are closed. */
TEST(truncation_closes_what_came)
{
    struct rlimit old, few;
    QIOChannel *a, *b;
    struct iovec out = { (void *)"abc", 3 };
    char buf[8];
    struct iovec in = { buf, sizeof(buf) };
    int ends[2], many[10];
    int *fds;
    size_t nfds;
    Error *err = NULL;

    CHECK_INT(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    pair(&a, &b);
    CHECK_INT(pipe(ends), ==, 0);
    for (int i = 0; i < 10; i++) {
        many[i] = ends[1];
    }
    for (rlim_t room = 0; room <= 10; room++) {
        test_note("room for %d", (int)room);
        CHECK_INT(qio_channel_writev_full(a, &out, 1, many, 10, NULL), ==, 3);
        few = old;
        few.rlim_cur = (rlim_t)(dup(0));
        close((int)few.rlim_cur);
        few.rlim_cur += room;
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
        if (room < 10) {
            CHECK_INT(qio_channel_readv_full(b, &in, 1, &fds, &nfds, &err), ==, -1);
            CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_TRUNCATED);
            CHECK_PTR(fds, ==, NULL);
            CHECK_INT(nfds, ==, 0);
            g_clear_pointer(&err, qio_error_free);
        } else {
            CHECK_INT(qio_channel_readv_full(b, &in, 1, &fds, &nfds, NULL), ==, 3);
            CHECK_INT(nfds, ==, 10);
            close_all(fds, nfds);
        }
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
    }
    /* The stream goes on, and nobody holds the pipe but we. */
    send_and_receive(a, b, 1);
    close(ends[1]);
    CHECK_INT(read(ends[0], buf, 1), ==, 0);
    close(ends[0]);
    drop(a, b);
}

TEST(credentials_beside_descriptors)
{
    QIOChannel *a, *b;
    int one = 1;

    pair(&a, &b);
    CHECK_INT(setsockopt(fd_of(b), SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), ==, 0);
    send_and_receive(a, b, 253);
    drop(a, b);
}
