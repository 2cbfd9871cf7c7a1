/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-testclock.c: time as the core sees it under the test clock.
 *
 * Owns: nothing.  Deadlines are minutes and hours: a wait that slept would time out.
 */
#include "runner.h"
#include "seam.h"
#include "testclock.h"

#define MINUTE_MS 60000

static int new_timer(void)
{
    int fd = sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    CHECK_INT(fd, >=, 0);
    return fd;
}

static void set_timer(int fd, int64_t after_s, int64_t every_s)
{
    struct itimerspec when = { .it_value.tv_sec = after_s, .it_interval.tv_sec = every_s };

    CHECK_INT(sys_timerfd_settime(fd, 0, &when, NULL), ==, 0);
}

static int64_t expirations(int fd)
{
    uint64_t count;

    if (sys_read(fd, &count, sizeof(count)) < 0) {
        CHECK_INT(errno, ==, EAGAIN);
        return 0;
    }
    return (int64_t)count;
}

TEST(stands_still)
{
    testclock_install();
    CHECK_INT(sys_now_ns(), ==, TESTCLOCK_START_NS);
    CHECK_INT(sys_now_ns(), ==, TESTCLOCK_START_NS);
    testclock_advance_ms(5);
    CHECK_INT(sys_now_ns(), ==, TESTCLOCK_START_NS + 5000000);
    CHECK_INT(testclock_elapsed_ms(), ==, 5);
    testclock_remove();
    CHECK_INT(sys_now_ns(), !=, TESTCLOCK_START_NS + 5000000);
}

TEST(other_clocks_are_real)
{
    struct timespec now;

    testclock_install();
    CHECK_INT(sys_clock_gettime(CLOCK_REALTIME, &now), ==, 0);
    CHECK_INT(now.tv_sec, >, 1700000000);
}

TEST(poll_moves_it_to_its_timeout)
{
    int fds[2];
    struct pollfd waiter = { .events = POLLIN };

    testclock_install();
    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    waiter.fd = fds[0];
    CHECK_INT(sys_poll(&waiter, 1, 0), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    CHECK_INT(sys_poll(&waiter, 1, 5 * MINUTE_MS), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 5 * MINUTE_MS);
    CHECK_INT(sys_poll(NULL, 0, MINUTE_MS), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 6 * MINUTE_MS);

    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(sys_poll(&waiter, 1, MINUTE_MS), ==, 1);
    CHECK_INT(sys_poll(&waiter, 1, -1), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 6 * MINUTE_MS);
    close(fds[0]);
    close(fds[1]);
}

TEST(timer_fires_when_the_clock_passes)
{
    int fd = (testclock_install(), new_timer());

    CHECK_INT(expirations(fd), ==, 0);
    set_timer(fd, 60, 0);
    testclock_advance_ms(MINUTE_MS - 1);
    CHECK_INT(expirations(fd), ==, 0);
    testclock_advance_ms(1);
    CHECK_INT(expirations(fd), ==, 1);
    testclock_advance_ms(10 * MINUTE_MS);
    CHECK_INT(expirations(fd), ==, 0);
    sys_close(fd);
}

TEST(timer_repeats)
{
    int fd = (testclock_install(), new_timer());

    set_timer(fd, 60, 10);
    testclock_advance_ms(MINUTE_MS);
    CHECK_INT(expirations(fd), ==, 1);
    testclock_advance_ms(9999);
    CHECK_INT(expirations(fd), ==, 0);
    testclock_advance_ms(30001);
    CHECK_INT(expirations(fd), ==, 4);
    sys_close(fd);
}

TEST(timer_absolute_past_and_disarmed)
{
    struct itimerspec when = { .it_value.tv_sec = TESTCLOCK_START_NS / 1000000000 - 1 };
    struct itimerspec old;
    int fd = (testclock_install(), new_timer());

    CHECK_INT(sys_timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL), ==, 0);
    set_timer(fd, 60, 10);
    CHECK_INT(expirations(fd), ==, 0);      /* a new setting forgets the old expiration */
    testclock_advance_ms(20000);
    CHECK_INT(sys_timerfd_settime(fd, 0, &(struct itimerspec) { 0 }, &old), ==, 0);
    CHECK_INT(old.it_value.tv_sec, ==, 40);
    CHECK_INT(old.it_interval.tv_sec, ==, 10);
    testclock_advance_ms(10 * MINUTE_MS);
    CHECK_INT(expirations(fd), ==, 0);
    CHECK_INT(sys_timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL), ==, 0);
    CHECK_INT(expirations(fd), ==, 1);
    sys_close(fd);
}

TEST(poll_moves_it_to_a_timer)
{
    int fd = (testclock_install(), new_timer());
    struct pollfd waiter = { .fd = fd, .events = POLLIN };

    set_timer(fd, 60, 0);
    CHECK_INT(sys_poll(&waiter, 1, -1), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, MINUTE_MS);
    CHECK_INT(expirations(fd), ==, 1);

    set_timer(fd, 60, 0);
    CHECK_INT(sys_poll(&waiter, 1, MINUTE_MS - 1), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 2 * MINUTE_MS - 1);
    CHECK_INT(sys_poll(&waiter, 1, 1), ==, 1);
    sys_close(fd);
}

TEST(epoll_wait_moves_it_to_a_timer_in_its_set)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = 7 };
    int fd = (testclock_install(), new_timer());
    int other = new_timer();
    int epfd = sys_epoll_create1(EPOLL_CLOEXEC);
    struct pollfd set = { .fd = epfd, .events = POLLIN };

    CHECK_INT(sys_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event), ==, 0);
    set_timer(fd, 60, 0);
    set_timer(other, 1, 0);         /* not in the set: nobody waits for it */
    event.data.u64 = 0;
    CHECK_INT(sys_epoll_wait(epfd, &event, 1, 1000), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 1000);
    CHECK_INT(sys_epoll_wait(epfd, &event, 1, -1), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, MINUTE_MS);
    CHECK_INT(event.data.u64, ==, 7);
    CHECK_INT(expirations(fd), ==, 1);

    /* The same through a descriptor of the loop, as a foreign loop sees it. */
    set_timer(fd, 60, 0);
    CHECK_INT(sys_poll(&set, 1, 2 * MINUTE_MS), ==, 1);
    CHECK_INT(testclock_elapsed_ms(), ==, 2 * MINUTE_MS);
    CHECK_INT(expirations(fd), ==, 1);

    /* Out of the set it is nobody's deadline any more. */
    set_timer(fd, 60, 0);
    CHECK_INT(sys_epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL), ==, 0);
    CHECK_INT(sys_epoll_wait(epfd, &event, 1, 5 * MINUTE_MS), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 7 * MINUTE_MS);
    sys_close(other);
    sys_close(fd);
    sys_close(epfd);
}

TEST(closed_timer_is_forgotten)
{
    int fd = (testclock_install(), new_timer());
    struct pollfd waiter = { .fd = fd, .events = POLLIN };

    set_timer(fd, 60, 0);
    sys_close(fd);
    waiter.fd = sys_eventfd(0, EFD_CLOEXEC);
    CHECK_INT(waiter.fd, ==, fd);
    CHECK_INT(sys_poll(&waiter, 1, 2 * MINUTE_MS), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, 2 * MINUTE_MS);
    sys_close(fd);
}

TEST(faults_still_strike)
{
    struct pollfd waiter = { .fd = -1, .events = POLLIN };

    testclock_install();
    seam_fail(SEAM_poll, 1, 1, EINTR);
    CHECK_ERRNO(sys_poll(&waiter, 1, MINUTE_MS), EINTR);
    CHECK_INT(testclock_elapsed_ms(), ==, 0);
    CHECK_INT(sys_poll(&waiter, 1, MINUTE_MS), ==, 0);
    CHECK_INT(testclock_elapsed_ms(), ==, MINUTE_MS);
    CHECK_INT(seam_hits(SEAM_poll), ==, 2);
}
