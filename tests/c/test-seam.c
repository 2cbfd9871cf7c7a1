/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-seam.c: the sys seam's faults do what seam.h says, no more and no less.
 *
 * Owns: nothing.  The tests stand in for the core: they make sys_ calls themselves.
 */
#include "runner.h"
#include "seam.h"

#include <stdio.h>
#include <stdlib.h>

static void open_pair(int *fds)
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static void close_pair(int *fds)
{
    CHECK_INT(close(fds[0]), ==, 0);
    CHECK_INT(close(fds[1]), ==, 0);
}

TEST(names_are_the_calls)
{
    CHECK_STR(seam_name(SEAM_read), "read");
    CHECK_STR(seam_name(SEAM_madvise), "madvise");
    CHECK(seam_is_transfer(SEAM_recvmsg));
    CHECK(!seam_is_transfer(SEAM_close));
}

TEST(counts_the_seam_alone)
{
    int fds[2];
    char byte = 'x';

    seam_install();
    open_pair(fds);     /* direct: not counted */
    CHECK_INT(sys_send(fds[0], &byte, 1, 0), ==, 1);
    CHECK_INT(sys_recv(fds[1], &byte, 1, 0), ==, 1);
    CHECK_INT(sys_send(fds[0], &byte, 1, 0), ==, 1);
    CHECK_INT(seam_hits(SEAM_send), ==, 2);
    CHECK_INT(seam_hits(SEAM_recv), ==, 1);
    CHECK_INT(seam_hits_of_all(), ==, 3);
    CHECK_INT(seam_struck(), ==, 0);
    close_pair(fds);

    seam_install();
    CHECK_INT(seam_hits_of_all(), ==, 0);
    seam_remove();
    CHECK_ERRNO(sys_close(-1), EBADF);
    CHECK_INT(seam_hits_of_all(), ==, 0);
}

TEST(fails_once)
{
    int fds[2];
    char byte = 'x';

    seam_install();
    open_pair(fds);
    seam_fail(SEAM_send, 2, 1, ECONNRESET);
    CHECK_INT(sys_send(fds[0], &byte, 1, 0), ==, 1);
    CHECK_ERRNO(sys_send(fds[0], &byte, 1, 0), ECONNRESET);
    CHECK_INT(sys_send(fds[0], &byte, 1, 0), ==, 1);
    CHECK_INT(seam_struck(), ==, 1);
    CHECK_INT(recv(fds[1], (char[8]) { 0 }, 8, 0), ==, 2);
    close_pair(fds);
}

TEST(fails_from_then_on)
{
    int fds[2];

    seam_install();
    open_pair(fds);
    seam_fail(SEAM_pipe2, 2, SEAM_ALWAYS, EMFILE);
    CHECK_INT(sys_pipe2((int[2]) { 0 }, -1), ==, -1);
    CHECK_INT(errno, ==, EINVAL);
    for (int i = 0; i < 5; i++) {
        CHECK_ERRNO(sys_pipe2((int[2]) { 0 }, 0), EMFILE);
    }
    CHECK_INT(seam_struck(), ==, 5);
    close_pair(fds);
}

TEST(interrupts_three_times_then_is_fine)
{
    int fds[2];
    char byte;

    seam_install();
    open_pair(fds);
    CHECK_INT(send(fds[0], "x", 1, 0), ==, 1);
    seam_fail(SEAM_read, 1, 3, EINTR);
    for (int i = 0; i < 3; i++) {
        CHECK_ERRNO(sys_read(fds[1], &byte, 1), EINTR);
    }
    CHECK_INT(sys_read(fds[1], &byte, 1), ==, 1);
    CHECK_INT(byte, ==, 'x');
    close_pair(fds);
}

TEST(fails_each_third)
{
    seam_install();
    seam_fail_every(SEAM_getrandom, 3, EINTR);
    for (int i = 1; i <= 9; i++) {
        char byte;
        CHECK_INT(sys_getrandom(&byte, 1, 0), ==, i % 3 == 0 ? -1 : 1);
    }
    CHECK_INT(seam_struck(), ==, 3);
}

TEST(first_fault_that_applies_counts)
{
    seam_install();
    seam_fail(SEAM_close, 1, 1, EIO);
    seam_fail(SEAM_close, 1, 2, ENOSPC);
    CHECK_ERRNO(sys_close(-1), EIO);
    CHECK_ERRNO(sys_close(-1), ENOSPC);
}

TEST(shortens_by_one)
{
    int fds[2];
    char buf[8] = { 0 };

    seam_install();
    open_pair(fds);
    seam_shorten(SEAM_write, 1, 1, SEAM_SHORT_BY_1);
    CHECK_INT(sys_write(fds[0], "hello", 5), ==, 4);
    CHECK_INT(sys_write(fds[0], "o", 1), ==, 1);
    CHECK_INT(recv(fds[1], buf, sizeof(buf), 0), ==, 5);
    CHECK_STR(buf, "hello");

    /* One byte stays one byte: zero would look like an end. */
    seam_install();
    seam_shorten(SEAM_write, 1, SEAM_ALWAYS, SEAM_SHORT_BY_1);
    CHECK_INT(sys_write(fds[0], "x", 1), ==, 1);
    CHECK_INT(sys_write(fds[0], "x", 0), ==, 0);
    close_pair(fds);
}

TEST(one_byte_at_a_time_loses_nothing)
{
    int fds[2];
    char buf[4] = { 0 };

    seam_install();
    open_pair(fds);
    CHECK_INT(send(fds[0], "abc", 3, 0), ==, 3);
    seam_shorten(SEAM_recv, 1, SEAM_ALWAYS, SEAM_ONE_BYTE);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(sys_recv(fds[1], buf + i, sizeof(buf) - 1, 0), ==, 1);
    }
    CHECK_STR(buf, "abc");
    close_pair(fds);
}

TEST(shortens_vectors)
{
    int fds[2];
    char a[2] = "ab";
    char b[3] = "cde";
    char buf[16] = { 0 };
    struct iovec iov[3] = { { a, 2 }, { NULL, 0 }, { b, 3 } };

    seam_install();
    open_pair(fds);
    seam_shorten(SEAM_writev, 1, 1, SEAM_SHORT_BY_1);
    seam_shorten(SEAM_writev, 2, 1, SEAM_ONE_BYTE);
    CHECK_INT(sys_writev(fds[0], iov, 3), ==, 4);
    CHECK_INT(sys_writev(fds[0], iov, 3), ==, 1);
    CHECK_INT(sys_writev(fds[0], iov, 3), ==, 5);
    CHECK_INT(iov[2].iov_len, ==, 3);       /* the caller's vector is its own */
    CHECK_INT(recv(fds[1], buf, sizeof(buf), 0), ==, 10);
    CHECK_STR(buf, "abcdaabcde");
    close_pair(fds);
}

TEST(shortens_messages_and_keeps_their_control_part)
{
    int fds[2];
    char data[4] = "data";
    struct iovec iov = { data, sizeof(data) };
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                          .msg_controllen = sizeof(control) };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int fd;

    seam_install();
    open_pair(fds);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fds[0], sizeof(int));
    seam_shorten(SEAM_sendmsg, 1, 1, SEAM_SHORT_BY_1);
    CHECK_INT(sys_sendmsg(fds[0], &msg, 0), ==, 3);

    memset(control, 0, sizeof(control));
    seam_shorten(SEAM_recvmsg, 1, 1, SEAM_ONE_BYTE);
    CHECK_INT(sys_recvmsg(fds[1], &msg, MSG_CMSG_CLOEXEC), ==, 1);
    CHECK_INT(msg.msg_controllen, ==, sizeof(control));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    CHECK_INT(close(fd), ==, 0);
    close_pair(fds);
}

TEST(close_that_fails_has_closed)
{
    int fds[2];

    seam_install();
    open_pair(fds);
    seam_fail(SEAM_close, 1, 1, EINTR);
    CHECK_ERRNO(sys_close(fds[0]), EINTR);
    CHECK_ERRNO(fcntl(fds[0], F_GETFD), EBADF);
    CHECK_INT(close(fds[1]), ==, 0);
}

TEST(interrupted_connect_goes_on)
{
    struct sockaddr_un { sa_family_t family; char path[108]; } addr = { .family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.path, sizeof(addr.path), "%s/listener", test_dir());
    CHECK_INT(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    CHECK_INT(listen(listener, 1), ==, 0);
    seam_install();
    seam_fail(SEAM_connect, 1, 1, ECONNREFUSED);
    seam_fail(SEAM_connect, 2, 1, EINTR);
    CHECK_ERRNO(sys_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ECONNREFUSED);
    CHECK_ERRNO(sys_getpeername(fd, (struct sockaddr *)&addr, &(socklen_t) { sizeof(addr) }),
                ENOTCONN);
    CHECK_ERRNO(sys_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), EINTR);
    CHECK_INT(sys_getpeername(fd, (struct sockaddr *)&addr, &(socklen_t) { sizeof(addr) }), ==, 0);
    close(fd);
    close(listener);
}

TEST(results_that_are_not_minus_one)
{
    seam_install();
    seam_fail(SEAM_mmap, 1, 1, ENOMEM);
    CHECK_PTR(sys_mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ==, MAP_FAILED);
    CHECK_INT(errno, ==, ENOMEM);
    seam_fail(SEAM_posix_spawn, 1, 1, EAGAIN);
    errno = 0;
    CHECK_INT(sys_posix_spawn(&(pid_t) { 0 }, "/bin/true", NULL, NULL, NULL, NULL), ==, EAGAIN);
}

/* ---- descriptors that a child would inherit ---- */

FAIL_TEST(a_socket_without_cloexec, TEST_CHECK_FAILED)
{
    close(sys_socket(AF_UNIX, SOCK_STREAM, 0));
}

FAIL_TEST(a_copy_without_cloexec, TEST_CHECK_FAILED)
{
    seam_install();
    close(sys_fcntl(0, F_DUPFD, 3));
}

FAIL_TEST(cloexec_set_later, TEST_CHECK_FAILED)
{
    int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
    close(fd);
}
