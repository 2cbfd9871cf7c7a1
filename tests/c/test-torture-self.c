/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-torture-self.c: the torture is held to its word with planted defects.
 *
 * Owns: small stand-ins for the core, each right but for one defect, which must be found.
 */
#include "runner.h"
#include "seam.h"
#include "torture.h"

#include <pthread.h>
#include <stdlib.h>

typedef enum Defect {
    DEFECT_NONE,
    DEFECT_FD_LEAK,             /* on the error path of a second pipe */
    DEFECT_BYTE_LEAK,
    DEFECT_NO_RETRY,            /* EINTR taken for the end */
    DEFECT_SHORT_WRITE,         /* a short write taken for a full one */
    DEFECT_SWALLOWED,           /* an error reported as success */
    DEFECT_CRASH,
    DEFECT_HANG,
    DEFECT_CLOSED_TWICE,
    DEFECT_COLD,                /* only the first time */
} Defect;

static Defect defect;
static void *volatile block;

static bool write_all(int fd, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t ret = sys_write(fd, data + done, len - done);

        if (ret < 0 && errno == EINTR && defect != DEFECT_NO_RETRY) {
            continue;
        }
        if (ret < 0 && errno == EAGAIN) {
            sys_poll(&(struct pollfd) { .fd = fd, .events = POLLOUT }, 1, -1);
            continue;
        }
        if (ret < 0) {
            return false;
        }
        done += defect == DEFECT_SHORT_WRITE ? len : (size_t)ret;
    }
    return true;
}

static bool read_all(int fd, char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t ret = sys_read(fd, data + done, len - done);

        if (ret < 0 && errno == EIO && defect == DEFECT_HANG) {
            continue;
        }
        if (ret < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (ret <= 0) {
            return false;
        }
        done += (size_t)ret;
    }
    return true;
}

/* A descriptor that the process keeps. */
static bool get_cached(void)
{
    static int cached = -1;

    if (cached < 0) {
        cached = sys_eventfd(0, EFD_CLOEXEC);
        if (cached < 0 && defect == DEFECT_COLD) {
            abort();
        }
    }
    return cached >= 0;
}

/* Makes two pipes, moves a text through both, closes them. */
static void scenario(void)
{
    int a[2] = { -1, -1 };
    int b[2] = { -1, -1 };
    char buf[6] = { 0 };
    bool good;

    block = malloc(10);
    good = get_cached() && sys_pipe2(a, O_CLOEXEC) == 0;
    if (good && sys_pipe2(b, O_CLOEXEC) != 0) {
        good = false;
        if (defect == DEFECT_CRASH) {
            abort();
        }
        if (defect == DEFECT_FD_LEAK) {
            a[0] = -1;
        }
    }
    good = good && write_all(a[1], "hello", 5) && sys_fcntl(a[1], F_GETFL, 0) >= 0;
    if (good && defect == DEFECT_SHORT_WRITE) {
        sys_close(a[1]);        /* what the missing bytes show as */
        a[1] = -1;
    }
    good = good && read_all(a[0], buf, 5) && write_all(b[1], buf, 5);
    if (good) {
        CHECK_STR(buf, "hello");
    } else if (defect == DEFECT_BYTE_LEAK) {
        block = NULL;
    }
    for (int i = 0; i < 2; i++) {
        if (a[i] >= 0 && sys_close(a[i]) != 0 && defect == DEFECT_CLOSED_TWICE) {
            close(b[i]);
            b[i] = -1;
            CHECK_ERRNO(close(a[i]), EBADF);
            abort();
        }
        if (b[i] >= 0) {
            sys_close(b[i]);
        }
    }
    free(block);
    CHECK(good || (torture_may_fail() && defect != DEFECT_SWALLOWED));
}

static void torture_with(Defect planted)
{
    defect = planted;
    torture(scenario, 60);
}

/* A call added to sys.h needs a row, or the torture would pass it by. */
TEST(knows_every_call)
{
    for (int call = 0; call < SEAM_NCALLS; call++) {
        test_note("%s", seam_name((SeamCall)call));
        CHECK(torture_knows(call));
    }
}

TEST(right_code_passes)
{
    torture_with(DEFECT_NONE);
}

FAIL_TEST(too_few_points, TEST_CHECK_FAILED)
{
    defect = DEFECT_NONE;
    torture(scenario, 100000);
}

FAIL_TEST(fd_leak, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_FD_LEAK);
}

FAIL_TEST(byte_leak, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_BYTE_LEAK);
}

FAIL_TEST(no_retry, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_NO_RETRY);
}

FAIL_TEST(short_write, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_SHORT_WRITE);
}

FAIL_TEST(swallowed_error, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_SWALLOWED);
}

FAIL_TEST(crash, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_CRASH);
}

FAIL_TEST(close_again_after_eintr, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_CLOSED_TWICE);
}

FAIL_TEST(crash_the_first_time_only, TEST_CHECK_FAILED)
{
    torture_with(DEFECT_COLD);
}

/* One point, since each that hangs takes its whole time limit. */
FAIL_TEST(hang, TEST_CHECK_FAILED)
{
    setenv("TORTURE_TIMEOUT", "1", 1);
    setenv("TORTURE_POINT", "read:1:EIO:always", 1);
    torture_with(DEFECT_HANG);
}

TEST(one_point_alone)
{
    setenv("TORTURE_POINT", "read:1:EIO:always", 1);
    torture_with(DEFECT_NONE);
}
