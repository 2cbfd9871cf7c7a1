/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture.c: runs a scenario once for each way one of its calls can fail, see torture.h.
 *
 * Owns: the table of faults by call.  EBADF and EFAULT are not in it: they mean a bug of
 * the caller, and no program has to survive its own.
 * Rule: points are numbered by call and hit, so that threads do not shift them.
 */
#include "torture.h"
#include "runner.h"
#include "seam.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TIMEOUT_S 10            /* of one run; TORTURE_TIMEOUT in the environment wins */
#define MAX_HITS 60             /* of one call in one scenario: later ones repeat the loop */
#define MAX_REPORTED 12
#define RETRIES 3
/* With a sanitizer each run ends with a search for leaks, a tenth of a second long: there every
 * third one will do, the build without makes them all. */
#define STRIDE (TEST_UNDER_SANITIZER ? 3 : 1)

/* The ways calls can fail; the errnos end with 0. */
typedef struct FaultRow {
    SeamCall call;
    int errnos[8];
} FaultRow;

static const FaultRow rows[] = {
    { SEAM_read, { EINTR, EAGAIN, EIO, ECONNRESET } },
    { SEAM_write, { EINTR, EAGAIN, EIO, ENOSPC, EPIPE } },
    { SEAM_readv, { EINTR, EAGAIN, EIO, ECONNRESET } },
    { SEAM_writev, { EINTR, EAGAIN, EIO, ENOSPC, EPIPE } },
    /* Only files have positions, and files do not block. */
    { SEAM_pread, { EINTR, EIO } },
    { SEAM_pwrite, { EINTR, EIO, ENOSPC } },
    { SEAM_preadv2, { EINTR, EAGAIN, EIO, EOPNOTSUPP } },
    { SEAM_pwritev2, { EINTR, EAGAIN, EIO, EOPNOTSUPP } },
    { SEAM_recv, { EINTR, EAGAIN, ECONNRESET, ENOMEM, ETIMEDOUT } },
    { SEAM_send, { EINTR, EAGAIN, ECONNRESET, EPIPE, ENOBUFS } },
    { SEAM_recvmsg, { EINTR, EAGAIN, ECONNRESET, ENOMEM } },
    { SEAM_sendmsg, { EINTR, EAGAIN, ECONNRESET, EPIPE, ENOBUFS, ETOOMANYREFS } },
    { SEAM_socket, { EMFILE, ENFILE, ENOBUFS, EAFNOSUPPORT } },
    { SEAM_socketpair, { EMFILE, ENOBUFS } },
    { SEAM_bind, { EADDRINUSE, EACCES } },
    { SEAM_listen, { EADDRINUSE } },
    { SEAM_accept4, { EINTR, EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS } },
    { SEAM_connect, { EINTR, EINPROGRESS, EAGAIN, ECONNREFUSED, ETIMEDOUT, ENETUNREACH } },
    { SEAM_getsockname, { ENOBUFS } },
    { SEAM_getpeername, { ENOTCONN } },
    { SEAM_getsockopt, { ENOPROTOOPT } },
    { SEAM_setsockopt, { ENOPROTOOPT } },
    { SEAM_shutdown, { ENOTCONN } },
    { SEAM_close, { EINTR, EIO } },
    { SEAM_open, { EINTR, EMFILE, ENOENT, EACCES } },
    { SEAM_fcntl, { EMFILE, EINVAL } },
    { SEAM_splice, { EINTR, EAGAIN, EINVAL, ECONNRESET } },
    { SEAM_dup3, { EMFILE } },
    { SEAM_pipe2, { EMFILE, ENFILE } },
    { SEAM_lseek, { ESPIPE } },
    { SEAM_fstat, { ENOMEM } },
    { SEAM_lstat, { EACCES } },
    { SEAM_access, { EACCES } },
    { SEAM_unlink, { EACCES } },
    { SEAM_flock, { EINTR, EWOULDBLOCK, ENOLCK } },
    { SEAM_ioctl, { EIO, EMFILE } },
    { SEAM_tcgetattr, { ENOTTY } },
    { SEAM_tcsetattr, { EIO } },
    { SEAM_poll, { EINTR, ENOMEM } },
    { SEAM_epoll_create1, { EMFILE, ENOMEM } },
    { SEAM_epoll_ctl, { ENOMEM, ENOSPC } },
    { SEAM_epoll_wait, { EINTR } },
    { SEAM_eventfd, { EMFILE, ENOMEM } },
    { SEAM_timerfd_create, { EMFILE, ENOMEM } },
    { SEAM_timerfd_settime, { EINVAL } },
    { SEAM_getrandom, { EINTR, ENOSYS } },
    { SEAM_posix_spawn, { EAGAIN, ENOENT, ENOMEM } },
    { SEAM_pthread_create, { EAGAIN } },
    { SEAM_getaddrinfo, { EAI_AGAIN, EAI_NONAME, EAI_MEMORY } },
    { SEAM_pidfd_open, { EMFILE, ENOSYS } },
    { SEAM_pidfd_send_signal, { ESRCH } },
    { SEAM_kill, { ESRCH } },
    { SEAM_waitid, { EINTR, ECHILD } },
    { SEAM_mmap, { ENOMEM } },
    { SEAM_mprotect, { ENOMEM } },
    { SEAM_madvise, { EINVAL } },
    { SEAM_sigtimedwait, { EINTR } },
    /* These cannot fail with right arguments. */
    { SEAM_clock_gettime, { 0 } },
    { SEAM_getpid, { 0 } },
    { SEAM_munmap, { 0 } },
    { SEAM_pthread_sigmask, { 0 } },
    { SEAM_sigpending, { 0 } },
};

/* One run. */
typedef struct Point {
    SeamCall call;
    int hit;
    int times;          /* 0: from then on */
    int number;         /* errno, or 0 */
    SeamShort how;      /* for number 0 */
} Point;

/* What a process does once in its life and again: hits of each call in the first run of a
 * scenario and in the second. */
typedef struct Hits {
    bool counted;
    long first[SEAM_NCALLS];
    long again[SEAM_NCALLS];
} Hits;

typedef struct Torture {
    void (*scenario)(void);
    Hits *hits;                 /* shared with the process that counts */
    bool cold;                  /* the process of a run has not run the scenario before */
    const char *only;           /* TORTURE_POINT */
    int timeout_s;
    Point point;                /* of this run */
    int runs;
    int failures;
    char first_failure[100];
} Torture;

static Point current = { .call = SEAM_NCALLS };      /* of this process */

static const char *eai_name(int number)
{
    return number == EAI_AGAIN ? "EAI_AGAIN" : number == EAI_NONAME ? "EAI_NONAME" : "EAI_MEMORY";
}

static void name_point(const Point *point, bool cold, char *buf, size_t cap)
{
    const char *suffix = cold ? ":cold" : "";
    const char *fault = point->number > 0 ? strerrorname_np(point->number) :
        point->number != 0 ? eai_name(point->number) :
        point->how == SEAM_ONE_BYTE ? "one-byte" : "short-by-1";

    if (point->times == SEAM_ALWAYS) {
        snprintf(buf, cap, "%s:%d:%s:always%s", seam_name(point->call), point->hit, fault,
                 suffix);
    } else {
        snprintf(buf, cap, "%s:%d:%s:%d%s", seam_name(point->call), point->hit, fault,
                 point->times, suffix);
    }
}

static void count_run(Torture *torture, long *hits)
{
    seam_install();
    torture->scenario();
    for (int call = 0; call < SEAM_NCALLS; call++) {
        hits[call] = seam_hits((SeamCall)call);
    }
    seam_remove();
}

static void count_hits(void *opaque)
{
    Torture *torture = opaque;

    /* The gates may run this again: only the first time is the process new. */
    if (!torture->hits->counted) {
        torture->hits->counted = true;
        count_run(torture, torture->hits->first);
        count_run(torture, torture->hits->again);
    }
}

static void run_point(void *opaque)
{
    Torture *torture = opaque;
    const Point *point = &torture->point;

    current = *point;
    seam_install();
    if (point->number != 0) {
        seam_fail(point->call, point->hit, point->times, point->number);
    } else {
        seam_shorten(point->call, point->hit, point->times, point->how);
    }
    torture->scenario();
    seam_remove();
}

/* What the caller has to try again, and so cannot last for ever. */
static bool is_passing(SeamCall call, int number)
{
    /* An aborted client is passed over like an interruption: no client aborts for ever. */
    if (call == SEAM_accept4 && number == ECONNABORTED) {
        return true;
    }
    if (call == SEAM_posix_spawn || call == SEAM_pthread_create ||
        (call == SEAM_connect && number == EAGAIN)) {
        return false;
    }
    return number == 0 || number == EINTR || number == EAGAIN || number == EINPROGRESS;
}

bool torture_struck(void)
{
    return seam_struck() > 0;
}

bool torture_may_fail(void)
{
    return torture_struck() && !is_passing(current.call, current.number);
}

static void run(Torture *torture, Point point)
{
    char message[TEST_MESSAGE];
    char name[100];
    TestVerdict verdict;

    name_point(&point, torture->cold, name, sizeof(name));
    if (torture->only != NULL && strcmp(torture->only, name) != 0) {
        return;
    }
    torture->point = point;
    torture->runs++;
    if (torture->runs % STRIDE != 0 && torture->only == NULL) {
        return;
    }
    verdict = test_process(run_point, torture, torture->timeout_s, true, false,
                           message, sizeof(message));
    if (verdict == TEST_PASSED) {
        return;
    }
    if (torture->failures++ == 0) {
        snprintf(torture->first_failure, sizeof(torture->first_failure), "%s", name);
    }
    if (torture->failures <= MAX_REPORTED) {
        fprintf(stderr, "# %s: %s: %s\n", name, test_verdict_name(verdict), message);
    }
}

static void run_hit(Torture *torture, const FaultRow *row, int hit)
{
    for (const int *number = row->errnos; *number != 0; number++) {
        Point point = { .call = row->call, .hit = hit, .times = 1, .number = *number };

        run(torture, point);
        point.times = is_passing(row->call, *number) ? RETRIES : SEAM_ALWAYS;
        if (*number != EINPROGRESS) {
            run(torture, point);
        }
    }
    if (seam_is_transfer(row->call)) {
        run(torture, (Point) { row->call, hit, 1, 0, SEAM_SHORT_BY_1 });
        run(torture, (Point) { row->call, hit, SEAM_ALWAYS, 0, SEAM_ONE_BYTE });
    }
}

/* The calls that a process makes more of the first time: what it does once in its life. */
static void run_cold(Torture *torture)
{
    torture->cold = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        long first = torture->hits->first[rows[i].call];

        if (first == torture->hits->again[rows[i].call]) {
            continue;
        }
        for (int hit = 1; hit <= first && hit <= MAX_HITS; hit++) {
            run_hit(torture, &rows[i], hit);
        }
    }
    torture->cold = false;
}

static void run_warm(Torture *torture)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        long hits = torture->hits->again[rows[i].call];

        for (int hit = 1; hit <= hits && hit <= MAX_HITS; hit++) {
            run_hit(torture, &rows[i], hit);
        }
    }
}

int torture_call(void)
{
    return current.call == SEAM_NCALLS ? -1 : (int)current.call;
}

bool torture_knows(int call)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if ((int)rows[i].call == call) {
            return true;
        }
    }
    return false;
}

void torture(void (*scenario)(void), int at_least)
{
    Torture torture = { .scenario = scenario, .only = getenv("TORTURE_POINT") };
    const char *timeout = getenv("TORTURE_TIMEOUT");
    char message[TEST_MESSAGE];
    TestVerdict verdict;

    torture.hits = mmap(NULL, sizeof(*torture.hits), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    torture.timeout_s = test_scale_timeout(timeout != NULL ? atoi(timeout) : TIMEOUT_S);
    CHECK_PTR(torture.hits, !=, MAP_FAILED);
    verdict = test_process(count_hits, &torture, torture.timeout_s, true, false, message,
                           sizeof(message));
    if (verdict != TEST_PASSED) {
        test_fail(__FILE__, __LINE__, "the clean run: %s: %s", test_verdict_name(verdict),
                  message);
    }
    run_cold(&torture);
    /* From here on the processes of the runs inherit full caches. */
    count_run(&torture, torture.hits->first);
    run_warm(&torture);
    munmap(torture.hits, sizeof(*torture.hits));
    if (torture.failures > 0) {
        test_fail(__FILE__, __LINE__, "%d of %d runs went wrong, TORTURE_POINT=%s is the first",
                  torture.failures, torture.runs, torture.first_failure);
    }
    if (torture.only == NULL) {
        CHECK_INT(torture.runs, >=, at_least);
    }
}
