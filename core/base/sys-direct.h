/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/sys-direct.h: the direct form of each call of the seam, for base/sys.h only.
 *
 * Owns: qio_direct_<name>().  They exist so that the release build inlines the call and the
 * test table has an address for it; the few that the C library does not wrap stand here too.
 */
#ifndef QIO_BASE_SYS_DIRECT_H
#define QIO_BASE_SYS_DIRECT_H

#include <sys/syscall.h>

static inline ssize_t qio_direct_read(int fd, void *buf, size_t len)
{
    return read(fd, buf, len);
}

static inline ssize_t qio_direct_write(int fd, const void *buf, size_t len)
{
    return write(fd, buf, len);
}

static inline ssize_t qio_direct_readv(int fd, const struct iovec *iov, int niov)
{
    return readv(fd, iov, niov);
}

static inline ssize_t qio_direct_writev(int fd, const struct iovec *iov, int niov)
{
    return writev(fd, iov, niov);
}

static inline ssize_t qio_direct_pread(int fd, void *buf, size_t len, off_t offset)
{
    return pread(fd, buf, len, offset);
}

static inline ssize_t qio_direct_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    return pwrite(fd, buf, len, offset);
}

static inline ssize_t qio_direct_preadv2(int fd, const struct iovec *iov, int niov, off_t offset,
    int flags)
{
    return preadv2(fd, iov, niov, offset, flags);
}

static inline ssize_t qio_direct_pwritev2(int fd, const struct iovec *iov, int niov,
    off_t offset, int flags)
{
    return pwritev2(fd, iov, niov, offset, flags);
}

static inline ssize_t qio_direct_recv(int fd, void *buf, size_t len, int flags)
{
    return recv(fd, buf, len, flags);
}

static inline ssize_t qio_direct_send(int fd, const void *buf, size_t len, int flags)
{
    return send(fd, buf, len, flags);
}

static inline ssize_t qio_direct_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return recvmsg(fd, msg, flags);
}

static inline ssize_t qio_direct_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return sendmsg(fd, msg, flags);
}

static inline int qio_direct_socket(int domain, int type, int protocol)
{
    return socket(domain, type, protocol);
}

static inline int qio_direct_socketpair(int domain, int type, int protocol, int *fds)
{
    return socketpair(domain, type, protocol, fds);
}

static inline int qio_direct_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return bind(fd, addr, len);
}

static inline int qio_direct_listen(int fd, int backlog)
{
    return listen(fd, backlog);
}

static inline int qio_direct_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return accept4(fd, addr, len, flags);
}

static inline int qio_direct_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return connect(fd, addr, len);
}

static inline int qio_direct_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    return getsockname(fd, addr, len);
}

static inline int qio_direct_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    return getpeername(fd, addr, len);
}

static inline int qio_direct_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return getsockopt(fd, level, name, value, len);
}

static inline int qio_direct_setsockopt(int fd, int level, int name, const void *value,
    socklen_t len)
{
    return setsockopt(fd, level, name, value, len);
}

static inline int qio_direct_shutdown(int fd, int how)
{
    return shutdown(fd, how);
}

static inline int qio_direct_close(int fd)
{
    return close(fd);
}

static inline int qio_direct_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static inline int qio_direct_fcntl(int fd, int command, long arg)
{
    return fcntl(fd, command, arg);
}

static inline int qio_direct_pipe2(int *fds, int flags)
{
    return pipe2(fds, flags);
}

static inline ssize_t qio_direct_splice(int from, int to, size_t len, unsigned int flags)
{
    return splice(from, NULL, to, NULL, len, flags);
}

static inline int qio_direct_dup3(int from, int to, int flags)
{
    return dup3(from, to, flags);
}

static inline int qio_direct_access(const char *path, int mode)
{
    return access(path, mode);
}

static inline off_t qio_direct_lseek(int fd, off_t offset, int whence)
{
    return lseek(fd, offset, whence);
}

static inline int qio_direct_fstat(int fd, struct stat *st)
{
    return fstat(fd, st);
}

static inline int qio_direct_lstat(const char *path, struct stat *st)
{
    return lstat(path, st);
}

static inline int qio_direct_unlink(const char *path)
{
    return unlink(path);
}

static inline int qio_direct_flock(int fd, int operation)
{
    return flock(fd, operation);
}

static inline int qio_direct_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg);
}

static inline int qio_direct_tcgetattr(int fd, struct termios *tio)
{
    return tcgetattr(fd, tio);
}

static inline int qio_direct_tcsetattr(int fd, int when, const struct termios *tio)
{
    return tcsetattr(fd, when, tio);
}

static inline int qio_direct_poll(struct pollfd *fds, nfds_t nfds, int timeout_ms)
{
    return poll(fds, nfds, timeout_ms);
}

static inline int qio_direct_epoll_create1(int flags)
{
    return epoll_create1(flags);
}

static inline int qio_direct_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return epoll_ctl(epfd, op, fd, event);
}

static inline int qio_direct_epoll_wait(int epfd, struct epoll_event *events, int cap,
    int timeout_ms)
{
    return epoll_wait(epfd, events, cap, timeout_ms);
}

static inline int qio_direct_eventfd(unsigned int value, int flags)
{
    return eventfd(value, flags);
}

static inline int qio_direct_timerfd_create(int clock, int flags)
{
    return timerfd_create(clock, flags);
}

static inline int qio_direct_timerfd_settime(int fd, int flags, const struct itimerspec *when,
    struct itimerspec *old)
{
    return timerfd_settime(fd, flags, when, old);
}

static inline int qio_direct_clock_gettime(clockid_t clock, struct timespec *now)
{
    return clock_gettime(clock, now);
}

static inline ssize_t qio_direct_getrandom(void *buf, size_t len, unsigned int flags)
{
    return getrandom(buf, len, flags);
}

static inline int qio_direct_posix_spawn(pid_t *pid, const char *path,
    const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
    char *const argv[], char *const envp[])
{
    return posix_spawn(pid, path, actions, attr, argv, envp);
}

static inline int qio_direct_pidfd_open(pid_t pid, unsigned int flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static inline int qio_direct_pidfd_send_signal(int pidfd, int signum)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0);
}

static inline int qio_direct_kill(pid_t pid, int signum)
{
    return kill(pid, signum);
}

static inline pid_t qio_direct_getpid(void)
{
    return getpid();
}

static inline int qio_direct_getaddrinfo(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **found)
{
    return getaddrinfo(node, service, hints, found);
}

static inline int qio_direct_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*start)(void *), void *opaque)
{
    return pthread_create(thread, attr, start, opaque);
}

static inline int qio_direct_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return pthread_sigmask(how, set, old);
}

static inline int qio_direct_sigpending(sigset_t *set)
{
    return sigpending(set);
}

static inline int qio_direct_sigtimedwait(const sigset_t *set, siginfo_t *info,
    const struct timespec *timeout)
{
    return sigtimedwait(set, info, timeout);
}

static inline int qio_direct_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    return waitid(type, id, info, options);
}

static inline void *qio_direct_mmap(void *addr, size_t len, int prot, int flags, int fd,
    off_t offset)
{
    return mmap(addr, len, prot, flags, fd, offset);
}

static inline int qio_direct_munmap(void *addr, size_t len)
{
    return munmap(addr, len);
}

static inline int qio_direct_mprotect(void *addr, size_t len, int prot)
{
    return mprotect(addr, len, prot);
}

static inline int qio_direct_madvise(void *addr, size_t len, int advice)
{
    return madvise(addr, len, advice);
}

#endif
