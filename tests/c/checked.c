/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checked.c: the table of system calls that every C test starts with: the calls themselves, and a
 * look at each descriptor that one of them makes.
 *
 * Owns: the gate that no descriptor of the core is ever without FD_CLOEXEC, not even for a moment,
 * in which another thread might fork.  What is built upon (seam.h, testclock.h) goes through it.
 */
#include "checked.h"
#include "runner.h"

#include <string.h>

static void check(const char *call, int fd)
{
    int number = errno;
    int flags = fd >= 0 ? fcntl(fd, F_GETFD) : FD_CLOEXEC;

    if (flags >= 0 && !(flags & FD_CLOEXEC)) {
        test_fail(__FILE__, __LINE__, "%s made descriptor %d, which a child would inherit", call,
                  fd);
    }
    errno = number;
}

#define CHECKED(name, params, args) \
    static int checked_##name params \
    { \
        int made = qio_sys_direct.name args; \
        check(#name, made); \
        return made; \
    }
CHECKED(socket, (int domain, int type, int protocol), (domain, type, protocol))
CHECKED(accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
        (fd, addr, len, flags))
CHECKED(open, (const char *path, int flags, mode_t mode), (path, flags, mode))
CHECKED(dup3, (int from, int to, int flags), (from, to, flags))
CHECKED(epoll_create1, (int flags), (flags))
CHECKED(eventfd, (unsigned int value, int flags), (value, flags))
CHECKED(timerfd_create, (int clock, int flags), (clock, flags))
CHECKED(pidfd_open, (pid_t pid, unsigned int flags), (pid, flags))
#undef CHECKED

static int checked_fcntl(int fd, int command, long arg)
{
    int ret = qio_sys_direct.fcntl(fd, command, arg);

    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        check("fcntl", ret);
    } else if (command == F_SETFD) {
        test_fail(__FILE__, __LINE__, "F_SETFD comes too late");
    }
    return ret;
}

static int checked_socketpair(int domain, int type, int protocol, int *fds)
{
    int ret = qio_sys_direct.socketpair(domain, type, protocol, fds);

    for (int i = 0; ret == 0 && i < 2; i++) {
        check("socketpair", fds[i]);
    }
    return ret;
}

static int checked_pipe2(int *fds, int flags)
{
    int ret = qio_sys_direct.pipe2(fds, flags);

    for (int i = 0; ret == 0 && i < 2; i++) {
        check("pipe2", fds[i]);
    }
    return ret;
}

static ssize_t checked_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t ret = qio_sys_direct.recvmsg(fd, msg, flags);

    if (ret < 0) {
        return ret;
    }
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n && cmsg->cmsg_type == SCM_RIGHTS; i++) {
            int came;

            memcpy(&came, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(came));
            check("recvmsg", came);
        }
    }
    return ret;
}

QIOSysTable test_sys_checked;

static void __attribute__((constructor)) install(void)
{
    test_sys_checked = qio_sys_direct;
    test_sys_checked.socket = checked_socket;
    test_sys_checked.accept4 = checked_accept4;
    test_sys_checked.open = checked_open;
    test_sys_checked.dup3 = checked_dup3;
    test_sys_checked.epoll_create1 = checked_epoll_create1;
    test_sys_checked.eventfd = checked_eventfd;
    test_sys_checked.timerfd_create = checked_timerfd_create;
    test_sys_checked.pidfd_open = checked_pidfd_open;
    test_sys_checked.fcntl = checked_fcntl;
    test_sys_checked.socketpair = checked_socketpair;
    test_sys_checked.pipe2 = checked_pipe2;
    test_sys_checked.recvmsg = checked_recvmsg;
    qio_sys = &test_sys_checked;
}
