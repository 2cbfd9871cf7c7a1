/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * testclock.c: the clock that only moves when told, see testclock.h.
 *
 * Owns: the time and the timers.  A timer is an eventfd, so real poll() and epoll see it;
 * its number is written to when the clock passes the setting.
 * Rule: one lock over all; it is never held in a real wait.
 */
#include "testclock.h"
#include "checked.h"
#include "runner.h"
#include "seam.h"

#include <pthread.h>

#define MAX_TIMERS 64
#define NS_PER_S 1000000000
#define NS_PER_MS 1000000

typedef struct Timer {
    int fd;                 /* -1: a free slot */
    int epfd;               /* the set it is in, or -1 */
    int64_t deadline_ns;    /* QIO_NEVER: not armed */
    int64_t every_ns;       /* 0: once */
} Timer;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t now_ns;
static Timer timers[MAX_TIMERS];
static QIOSysTable clocked;

static Timer *find_timer(int fd)
{
    for (int i = 0; i < MAX_TIMERS; i++) {
        if (timers[i].fd == fd) {
            return &timers[i];
        }
    }
    return NULL;
}

static int64_t to_ns(const struct timespec *time)
{
    return (int64_t)time->tv_sec * NS_PER_S + time->tv_nsec;
}

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec) { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
}

/* Writes to the timers whose time has come.  Lock held. */
static void fire(void)
{
    for (int i = 0; i < MAX_TIMERS; i++) {
        Timer *timer = &timers[i];
        uint64_t expirations = 1;

        if (timer->fd < 0 || timer->deadline_ns > now_ns) {
            continue;
        }
        if (timer->every_ns > 0) {
            expirations += (uint64_t)((now_ns - timer->deadline_ns) / timer->every_ns);
            timer->deadline_ns += (int64_t)expirations * timer->every_ns;
        } else {
            timer->deadline_ns = QIO_NEVER;
        }
        CHECK_INT(write(timer->fd, &expirations, sizeof(expirations)), ==, sizeof(expirations));
    }
}

static void advance_to(int64_t ns)
{
    pthread_mutex_lock(&lock);
    if (ns > now_ns) {
        now_ns = ns;
    }
    fire();
    pthread_mutex_unlock(&lock);
}

static int clock_gettime_tested(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC) {
        return qio_sys_direct.clock_gettime(clock, now);
    }
    *now = to_timespec(testclock_now_ns());
    return 0;
}

static int timerfd_create_tested(int clock, int flags)
{
    Timer *timer;
    int fd;

    if (clock != CLOCK_MONOTONIC) {
        return qio_sys_direct.timerfd_create(clock, flags);
    }
    fd = eventfd(0, ((flags & TFD_CLOEXEC) ? EFD_CLOEXEC : 0) |
                 ((flags & TFD_NONBLOCK) ? EFD_NONBLOCK : 0));
    if (fd < 0) {
        return -1;
    }
    pthread_mutex_lock(&lock);
    timer = find_timer(-1);
    if (timer != NULL) {
        *timer = (Timer) { .fd = fd, .epfd = -1, .deadline_ns = QIO_NEVER };
    }
    pthread_mutex_unlock(&lock);
    CHECK(timer != NULL);
    return fd;
}

/* As the kernel does: a new setting forgets expirations that nobody has read. */
static void drain(int fd)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    uint64_t count;

    if (poll(&ready, 1, 0) == 1) {
        CHECK_INT(read(fd, &count, sizeof(count)), ==, sizeof(count));
    }
}

static int timerfd_settime_tested(int fd, int flags, const struct itimerspec *when,
                                  struct itimerspec *old)
{
    int64_t value = to_ns(&when->it_value);
    Timer *timer;

    pthread_mutex_lock(&lock);
    timer = find_timer(fd);
    if (timer == NULL) {
        pthread_mutex_unlock(&lock);
        return qio_sys_direct.timerfd_settime(fd, flags, when, old);
    }
    if (old != NULL) {
        bool armed = timer->deadline_ns != QIO_NEVER;

        old->it_value = to_timespec(armed ? timer->deadline_ns - now_ns : 0);
        old->it_interval = to_timespec(timer->every_ns);
    }
    drain(fd);
    timer->every_ns = to_ns(&when->it_interval);
    timer->deadline_ns = value == 0 ? QIO_NEVER :
        (flags & TFD_TIMER_ABSTIME) ? value : now_ns + value;
    fire();
    pthread_mutex_unlock(&lock);
    return 0;
}

static int epoll_ctl_tested(int epfd, int op, int fd, struct epoll_event *event)
{
    int ret = qio_sys_direct.epoll_ctl(epfd, op, fd, event);
    Timer *timer;

    if (ret == 0 && op != EPOLL_CTL_MOD) {
        pthread_mutex_lock(&lock);
        timer = find_timer(fd);
        if (timer != NULL) {
            timer->epfd = op == EPOLL_CTL_ADD ? epfd : -1;
        }
        pthread_mutex_unlock(&lock);
    }
    return ret;
}

static int close_tested(int fd)
{
    Timer *timer;

    pthread_mutex_lock(&lock);
    timer = fd >= 0 ? find_timer(fd) : NULL;
    if (timer != NULL) {
        timer->fd = -1;
    }
    for (int i = 0; i < MAX_TIMERS; i++) {
        if (timers[i].epfd == fd) {
            timers[i].epfd = -1;
        }
    }
    pthread_mutex_unlock(&lock);
    return qio_sys_direct.close(fd);
}

/* The first deadline among the timers that a wait on these descriptors would see, itself
 * or inside an epoll set. */
static int64_t first_deadline(const struct pollfd *fds, nfds_t nfds)
{
    int64_t first = QIO_NEVER;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_TIMERS; i++) {
        if (timers[i].fd < 0 || timers[i].deadline_ns >= first) {
            continue;
        }
        for (nfds_t j = 0; j < nfds; j++) {
            bool seen = fds[j].fd >= 0 && (fds[j].events & POLLIN) != 0 &&
                (fds[j].fd == timers[i].fd || fds[j].fd == timers[i].epfd);

            first = seen ? timers[i].deadline_ns : first;
        }
    }
    pthread_mutex_unlock(&lock);
    return first;
}

/*
 * What a wait with nothing ready comes to: -1 a real wait without end, 0 it timed out (the
 * clock is there), 1 the clock reached a timer and the wait must look again.
 */
static int move_clock(const struct pollfd *fds, nfds_t nfds, int64_t deadline_ns)
{
    int64_t timer_ns = first_deadline(fds, nfds);

    if (timer_ns == QIO_NEVER && deadline_ns == QIO_NEVER) {
        return -1;
    }
    advance_to(timer_ns < deadline_ns ? timer_ns : deadline_ns);
    return timer_ns <= deadline_ns ? 1 : 0;
}

static int64_t deadline_of(int timeout_ms)
{
    return timeout_ms < 0 ? QIO_NEVER : testclock_now_ns() + (int64_t)timeout_ms * NS_PER_MS;
}

static int poll_tested(struct pollfd *fds, nfds_t nfds, int timeout_ms)
{
    int64_t deadline_ns = deadline_of(timeout_ms);

    for (;;) {
        int ret = qio_sys_direct.poll(fds, nfds, 0);
        int moved;

        if (ret != 0 || timeout_ms == 0) {
            return ret;
        }
        moved = move_clock(fds, nfds, deadline_ns);
        if (moved <= 0) {
            return qio_sys_direct.poll(fds, nfds, moved);
        }
    }
}

static int epoll_wait_tested(int epfd, struct epoll_event *events, int cap, int timeout_ms)
{
    struct pollfd set = { .fd = epfd, .events = POLLIN };
    int64_t deadline_ns = deadline_of(timeout_ms);

    for (;;) {
        int ret = qio_sys_direct.epoll_wait(epfd, events, cap, 0);
        int moved;

        if (ret != 0 || timeout_ms == 0) {
            return ret;
        }
        moved = move_clock(&set, 1, deadline_ns);
        if (moved <= 0) {
            return qio_sys_direct.epoll_wait(epfd, events, cap, moved);
        }
    }
}

void testclock_install(void)
{
    clocked = test_sys_checked;
    clocked.clock_gettime = clock_gettime_tested;
    clocked.timerfd_create = timerfd_create_tested;
    clocked.timerfd_settime = timerfd_settime_tested;
    clocked.epoll_ctl = epoll_ctl_tested;
    clocked.close = close_tested;
    clocked.poll = poll_tested;
    clocked.epoll_wait = epoll_wait_tested;

    now_ns = TESTCLOCK_START_NS;
    for (int i = 0; i < MAX_TIMERS; i++) {
        timers[i] = (Timer) { .fd = -1, .epfd = -1, .deadline_ns = QIO_NEVER };
    }
    seam_set_below(&clocked);
    seam_install();
}

void testclock_remove(void)
{
    seam_set_below(&test_sys_checked);
    seam_remove();
}

int64_t testclock_now_ns(void)
{
    int64_t now;

    pthread_mutex_lock(&lock);
    now = now_ns;
    pthread_mutex_unlock(&lock);
    return now;
}

int64_t testclock_elapsed_ms(void)
{
    return (testclock_now_ns() - TESTCLOCK_START_NS) / NS_PER_MS;
}

void testclock_advance_ms(int64_t ms)
{
    advance_to(testclock_now_ns() + ms * NS_PER_MS);
}
