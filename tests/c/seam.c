/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seam.c: the counting and failing table behind qio_sys, see seam.h.
 *
 * Owns: the faults that are set and the counters.
 * Rule: a shortened transfer asks the kernel for less, so no byte is ever lost to the test;
 * a failed one does not reach it.
 */
#include "seam.h"
#include "checked.h"
#include "runner.h"

#include <limits.h>
#include <stdatomic.h>

#define MAX_FAULTS 32

typedef struct Fault {
    SeamCall call;
    long first;
    long times;         /* SEAM_ALWAYS: no end */
    long every;         /* 0: each hit from first on */
    int number;         /* errno, 0: shorten */
    SeamShort how;
} Fault;

/* What is to happen to one hit. */
typedef struct Strike {
    int number;
    SeamShort how;
} Strike;

static Fault faults[MAX_FAULTS];
static int nfaults;
static atomic_long hits[SEAM_NCALLS];
static atomic_long struck;
static const QIOSysTable *below;
static QIOSysTable failing;

static bool applies(const Fault *fault, SeamCall call, long hit)
{
    if (fault->call != call || hit < fault->first) {
        return false;
    }
    if (fault->every > 0) {
        return hit % fault->every == 0;
    }
    return fault->times == SEAM_ALWAYS || hit < fault->first + fault->times;
}

/* Counts a hit and sets errno when it must fail; the first fault that applies counts. */
static Strike strike(SeamCall call)
{
    long hit = atomic_fetch_add(&hits[call], 1) + 1;

    for (int i = 0; i < nfaults; i++) {
        if (applies(&faults[i], call, hit)) {
            atomic_fetch_add(&struck, 1);
            errno = faults[i].number != 0 ? faults[i].number : errno;
            return (Strike) { faults[i].number, faults[i].how };
        }
    }
    return (Strike) { 0, 0 };
}

/* Each call with failing alone. */
#define SEAM_PLAIN(ret, name, params, args) \
    static ret plain_##name params \
    { \
        return strike(SEAM_##name).number != 0 ? (ret)-1 : below->name args; \
    }
QIO_SYS_CALLS(SEAM_PLAIN)
#undef SEAM_PLAIN

static size_t shorten(size_t len, SeamShort how)
{
    if (len <= 1 || how == 0) {
        return len;
    }
    return how == SEAM_ONE_BYTE ? 1 : len - 1;
}

/* A copy of the vector that is as short as it must be; gives the number of its parts. */
static int shorten_iov(const struct iovec *iov, int niov, SeamShort how, struct iovec *out)
{
    size_t len = 0;
    int n = 0;

    for (int i = 0; i < niov; i++) {
        len += iov[i].iov_len;
    }
    len = shorten(len, how);
    for (int i = 0; i < niov && i < IOV_MAX; i++) {
        out[n] = iov[i];
        if (out[n].iov_len > len) {
            out[n].iov_len = len;
        }
        len -= out[n].iov_len;
        n++;
    }
    return n;
}

/* The transfers of one block: all have the length third. */
#define SEAM_BLOCK(name, buffer, more_params, more_args) \
    static ssize_t block_##name(int fd, buffer buf, size_t len SEAM_REST more_params) \
    { \
        Strike now = strike(SEAM_##name); \
        return now.number != 0 ? -1 : \
            below->name(fd, buf, shorten(len, now.how) SEAM_REST more_args); \
    }
#define SEAM_REST(...) __VA_OPT__(,) __VA_ARGS__
SEAM_BLOCK(read, void *, (), ())
SEAM_BLOCK(write, const void *, (), ())
SEAM_BLOCK(pread, void *, (off_t offset), (offset))
SEAM_BLOCK(pwrite, const void *, (off_t offset), (offset))
SEAM_BLOCK(recv, void *, (int flags), (flags))
SEAM_BLOCK(send, const void *, (int flags), (flags))
#undef SEAM_BLOCK

/* The transfers of a vector. */
#define SEAM_VECTOR(name, more_params, more_args) \
    static ssize_t vector_##name(int fd, const struct iovec *iov, int niov SEAM_REST more_params) \
    { \
        struct iovec part[IOV_MAX]; \
        Strike now = strike(SEAM_##name); \
        if (now.number != 0) { \
            return -1; \
        } \
        if (now.how == 0) { \
            return below->name(fd, iov, niov SEAM_REST more_args); \
        } \
        return below->name(fd, part, shorten_iov(iov, niov, now.how, part) SEAM_REST more_args); \
    }
SEAM_VECTOR(readv, (), ())
SEAM_VECTOR(writev, (), ())
SEAM_VECTOR(preadv2, (off_t offset, int flags), (offset, flags))
SEAM_VECTOR(pwritev2, (off_t offset, int flags), (offset, flags))
#undef SEAM_VECTOR

static ssize_t message_recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct iovec part[IOV_MAX];
    struct msghdr less = *msg;
    Strike now = strike(SEAM_recvmsg);
    ssize_t ret;

    if (now.number != 0) {
        return -1;
    }
    if (now.how == 0) {
        return below->recvmsg(fd, msg, flags);
    }
    less.msg_iov = part;
    less.msg_iovlen = (size_t)shorten_iov(msg->msg_iov, (int)msg->msg_iovlen, now.how, part);
    ret = below->recvmsg(fd, &less, flags);
    msg->msg_namelen = less.msg_namelen;
    msg->msg_controllen = less.msg_controllen;
    msg->msg_flags = less.msg_flags;
    return ret;
}

static ssize_t message_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec part[IOV_MAX];
    struct msghdr less = *msg;
    Strike now = strike(SEAM_sendmsg);

    if (now.number != 0) {
        return -1;
    }
    if (now.how != 0) {
        less.msg_iov = part;
        less.msg_iovlen = (size_t)shorten_iov(msg->msg_iov, (int)msg->msg_iovlen, now.how, part);
    }
    return below->sendmsg(fd, &less, flags);
}

static ssize_t short_splice(int from, int to, size_t len, unsigned int flags)
{
    Strike now = strike(SEAM_splice);

    return now.number != 0 ? -1 : below->splice(from, to, shorten(len, now.how), flags);
}

static int close_anyway(int fd)
{
    Strike now = strike(SEAM_close);
    int ret = below->close(fd);

    if (now.number != 0) {
        errno = now.number;
        return -1;
    }
    return ret;
}

static int connect_anyway(int fd, const struct sockaddr *addr, socklen_t len)
{
    Strike now = strike(SEAM_connect);
    int ret;

    if (now.number != 0 && now.number != EINTR && now.number != EINPROGRESS) {
        return -1;
    }
    ret = below->connect(fd, addr, len);
    if (now.number != 0 && (ret == 0 || errno == EINPROGRESS)) {
        errno = now.number;
        return -1;
    }
    return ret;
}

/* Gives the errno instead of setting it. */
static int spawn_or_errno(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                          const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
    Strike now = strike(SEAM_posix_spawn);

    return now.number != 0 ? now.number :
        below->posix_spawn(pid, path, actions, attr, argv, envp);
}

static int thread_or_errno(pthread_t *thread, const pthread_attr_t *attr,
                           void *(*start)(void *), void *opaque)
{
    Strike now = strike(SEAM_pthread_create);

    return now.number != 0 ? now.number : below->pthread_create(thread, attr, start, opaque);
}

/* The number is an EAI code. */
static int names_or_eai(const char *node, const char *service, const struct addrinfo *hints,
                        struct addrinfo **found)
{
    Strike now = strike(SEAM_getaddrinfo);

    return now.number != 0 ? now.number : below->getaddrinfo(node, service, hints, found);
}

void seam_install(void)
{
#define SEAM_PLAIN(ret, name, params, args) .name = plain_##name,
    failing = (QIOSysTable) { QIO_SYS_CALLS(SEAM_PLAIN) };
#undef SEAM_PLAIN
    failing.read = block_read;
    failing.write = block_write;
    failing.pread = block_pread;
    failing.pwrite = block_pwrite;
    failing.recv = block_recv;
    failing.send = block_send;
    failing.readv = vector_readv;
    failing.writev = vector_writev;
    failing.preadv2 = vector_preadv2;
    failing.pwritev2 = vector_pwritev2;
    failing.recvmsg = message_recvmsg;
    failing.sendmsg = message_sendmsg;
    failing.splice = short_splice;
    failing.close = close_anyway;
    failing.connect = connect_anyway;
    failing.posix_spawn = spawn_or_errno;
    failing.pthread_create = thread_or_errno;
    failing.getaddrinfo = names_or_eai;

    nfaults = 0;
    atomic_store(&struck, 0);
    for (int i = 0; i < SEAM_NCALLS; i++) {
        atomic_store(&hits[i], 0);
    }
    if (below == NULL) {
        below = &test_sys_checked;
    }
    qio_sys = &failing;
}

void seam_remove(void)
{
    qio_sys = &test_sys_checked;
}

void seam_set_below(const QIOSysTable *table)
{
    below = table;
}

const QIOSysTable *seam_get_below(void)
{
    return below != NULL ? below : &test_sys_checked;
}

static void add_fault(Fault fault)
{
    CHECK_INT(nfaults, <, MAX_FAULTS);
    CHECK_PTR(qio_sys, ==, &failing);
    faults[nfaults++] = fault;
}

void seam_fail(SeamCall call, int hit, int times, int number)
{
    add_fault((Fault) { .call = call, .first = hit, .times = times, .number = number });
}

void seam_fail_every(SeamCall call, int k, int number)
{
    add_fault((Fault) { .call = call, .first = 1, .every = k, .number = number });
}

void seam_shorten(SeamCall call, int hit, int times, SeamShort how)
{
    CHECK(seam_is_transfer(call));
    add_fault((Fault) { .call = call, .first = hit, .times = times, .how = how });
}

long seam_hits(SeamCall call)
{
    return atomic_load(&hits[call]);
}

long seam_hits_of_all(void)
{
    long sum = 0;

    for (int i = 0; i < SEAM_NCALLS; i++) {
        sum += seam_hits((SeamCall)i);
    }
    return sum;
}

long seam_struck(void)
{
    return atomic_load(&struck);
}

const char *seam_name(SeamCall call)
{
#define SEAM_NAME(ret, name, params, args) #name,
    static const char *const names[] = { QIO_SYS_CALLS(SEAM_NAME) };
#undef SEAM_NAME

    return names[call];
}

bool seam_is_transfer(SeamCall call)
{
    switch (call) {
    case SEAM_read:
    case SEAM_write:
    case SEAM_readv:
    case SEAM_writev:
    case SEAM_pread:
    case SEAM_pwrite:
    case SEAM_preadv2:
    case SEAM_pwritev2:
    case SEAM_recv:
    case SEAM_send:
    case SEAM_recvmsg:
    case SEAM_sendmsg:
    case SEAM_splice:
        return true;
    default:
        return false;
    }
}
