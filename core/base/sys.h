/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/sys.h: the sys seam.  Every system call, clock reading and random byte of the core
 * goes through here and nowhere else (a test greps for direct calls).
 *
 * Owns: sys_<call>(), with the arguments, the result and the errno of the call itself.
 * Release builds fold each to the direct call.  Test builds (QIO_SYS_SEAM defined) go
 * through qio_sys, a table that tests/c/seam.h swaps to inject errno values, EINTR, short
 * transfers and a clock that only moves when told to.
 * Rule: callers handle every errno; EINTR is theirs to retry (sys_close never is: Linux
 * has closed the descriptor by then).  Any thread.
 */
#ifndef QIO_BASE_SYS_H
#define QIO_BASE_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* X(result type, name, (parameters), (arguments)): the direct form of each is
 * qio_direct_<name>, an inline function in sys-direct.h. */
#define QIO_SYS_CALLS(X) \
    X(ssize_t, read, (int fd, void *buf, size_t len), (fd, buf, len)) \
    X(ssize_t, write, (int fd, const void *buf, size_t len), (fd, buf, len)) \
    X(ssize_t, readv, (int fd, const struct iovec *iov, int niov), (fd, iov, niov)) \
    X(ssize_t, writev, (int fd, const struct iovec *iov, int niov), (fd, iov, niov)) \
    X(ssize_t, pread, (int fd, void *buf, size_t len, off_t offset), (fd, buf, len, offset)) \
    X(ssize_t, pwrite, (int fd, const void *buf, size_t len, off_t offset), \
      (fd, buf, len, offset)) \
    X(ssize_t, preadv2, (int fd, const struct iovec *iov, int niov, off_t offset, int flags), \
      (fd, iov, niov, offset, flags)) \
    X(ssize_t, pwritev2, (int fd, const struct iovec *iov, int niov, off_t offset, int flags), \
      (fd, iov, niov, offset, flags)) \
    X(ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags)) \
    X(ssize_t, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags)) \
    X(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags)) \
    X(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags)) \
    X(int, socket, (int domain, int type, int protocol), (domain, type, protocol)) \
    X(int, socketpair, (int domain, int type, int protocol, int *fds), \
      (domain, type, protocol, fds)) \
    X(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len)) \
    X(int, listen, (int fd, int backlog), (fd, backlog)) \
    X(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags), \
      (fd, addr, len, flags)) \
    X(int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len)) \
    X(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len)) \
    X(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len)) \
    X(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len), \
      (fd, level, name, value, len)) \
    X(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len), \
      (fd, level, name, value, len)) \
    X(int, shutdown, (int fd, int how), (fd, how)) \
    X(int, close, (int fd), (fd)) \
    X(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode)) \
    X(int, fcntl, (int fd, int command, long arg), (fd, command, arg)) \
    X(int, pipe2, (int *fds, int flags), (fds, flags)) \
    X(ssize_t, splice, (int from, int to, size_t len, unsigned int flags), (from, to, len, flags)) \
    X(int, dup3, (int from, int to, int flags), (from, to, flags)) \
    X(int, access, (const char *path, int mode), (path, mode)) \
    X(off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence)) \
    X(int, fstat, (int fd, struct stat *st), (fd, st)) \
    X(int, lstat, (const char *path, struct stat *st), (path, st)) \
    X(int, unlink, (const char *path), (path)) \
    X(int, flock, (int fd, int operation), (fd, operation)) \
    X(int, ioctl, (int fd, unsigned long request, void *arg), (fd, request, arg)) \
    X(int, tcgetattr, (int fd, struct termios *tio), (fd, tio)) \
    X(int, tcsetattr, (int fd, int when, const struct termios *tio), (fd, when, tio)) \
    X(int, poll, (struct pollfd *fds, nfds_t nfds, int timeout_ms), (fds, nfds, timeout_ms)) \
    X(int, epoll_create1, (int flags), (flags)) \
    X(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event), \
      (epfd, op, fd, event)) \
    X(int, epoll_wait, (int epfd, struct epoll_event *events, int cap, int timeout_ms), \
      (epfd, events, cap, timeout_ms)) \
    X(int, eventfd, (unsigned int value, int flags), (value, flags)) \
    X(int, timerfd_create, (int clock, int flags), (clock, flags)) \
    X(int, timerfd_settime, (int fd, int flags, const struct itimerspec *when, \
      struct itimerspec *old), (fd, flags, when, old)) \
    X(int, clock_gettime, (clockid_t clock, struct timespec *now), (clock, now)) \
    X(ssize_t, getrandom, (void *buf, size_t len, unsigned int flags), (buf, len, flags)) \
    X(int, posix_spawn, (pid_t *pid, const char *path, \
      const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr, \
      char *const argv[], char *const envp[]), (pid, path, actions, attr, argv, envp)) \
    X(int, pidfd_open, (pid_t pid, unsigned int flags), (pid, flags)) \
    X(int, pidfd_send_signal, (int pidfd, int signum), (pidfd, signum)) \
    X(int, kill, (pid_t pid, int signum), (pid, signum)) \
    X(pid_t, getpid, (void), ()) \
    X(int, getaddrinfo, (const char *node, const char *service, const struct addrinfo *hints, \
      struct addrinfo **found), (node, service, hints, found)) \
    X(int, pthread_create, (pthread_t *thread, const pthread_attr_t *attr, \
      void *(*start)(void *), void *opaque), (thread, attr, start, opaque)) \
    X(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old)) \
    X(int, sigpending, (sigset_t *set), (set)) \
    X(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *timeout), \
      (set, info, timeout)) \
    X(int, waitid, (idtype_t type, id_t id, siginfo_t *info, int options), \
      (type, id, info, options)) \
    X(void *, mmap, (void *addr, size_t len, int prot, int flags, int fd, off_t offset), \
      (addr, len, prot, flags, fd, offset)) \
    X(int, munmap, (void *addr, size_t len), (addr, len)) \
    X(int, mprotect, (void *addr, size_t len, int prot), (addr, len, prot)) \
    X(int, madvise, (void *addr, size_t len, int advice), (addr, len, advice))

#include "base/sys-direct.h"

#ifdef QIO_SYS_SEAM

#define QIO_SYS_MEMBER(ret, name, params, args) ret (*name) params;
typedef struct QIOSysTable {
    QIO_SYS_CALLS(QIO_SYS_MEMBER)
} QIOSysTable;
#undef QIO_SYS_MEMBER

extern const QIOSysTable qio_sys_direct;    /* the calls themselves */
extern const QIOSysTable *qio_sys;          /* what the core uses now */

#define QIO_SYS_WRAPPER(ret, name, params, args) \
    static inline ret sys_##name params { return qio_sys->name args; }
#else
#define QIO_SYS_WRAPPER(ret, name, params, args) \
    static inline ret sys_##name params { return qio_direct_##name args; }
#endif

QIO_SYS_CALLS(QIO_SYS_WRAPPER)
#undef QIO_SYS_WRAPPER

/* The monotonic clock in nanoseconds: what every deadline is counted in. */
static inline int64_t sys_now_ns(void)
{
    struct timespec now;
    sys_clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A deadline: an absolute sys_now_ns() value; QIO_NEVER = none. */
#define QIO_NEVER INT64_MAX

/* timeout_ms as in the flat ABI: -1 = for ever, 0 = try. */
static inline int64_t sys_deadline_ns(int timeout_ms)
{
    if (timeout_ms < 0) {
        return QIO_NEVER;
    }
    return sys_now_ns() + (int64_t)timeout_ms * 1000000;
}

/* What is left until a deadline, as a time-out for poll: rounded up, never negative,
 * -1 for QIO_NEVER. */
static inline int sys_ms_left(int64_t deadline_ns)
{
    int64_t left_ns;

    if (deadline_ns == QIO_NEVER) {
        return -1;
    }
    left_ns = deadline_ns - sys_now_ns();
    if (left_ns <= 0) {
        return 0;
    }
    left_ns = (left_ns + 999999) / 1000000;
    return left_ns > INT32_MAX ? INT32_MAX : (int)left_ns;
}

#endif
