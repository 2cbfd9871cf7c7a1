/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * runner.h: what a C test sees of the test runner.
 *
 * Owns: TEST(), the CHECK family and the process each test runs in.  A test program is any
 * number of TEST()s linked with runner.c, which has main().
 * Rule: every test runs in a process of its own, with a time limit, standard input from
 * /dev/null and nothing open above 2.  What it leaves behind fails it: descriptors (their
 * links are compared, not their number), bytes, child processes, a SIGPIPE that arrived, a
 * changed signal mask.  A body may be run again to tell a leak from a one-time cache, so
 * it starts from nothing and cleans up after itself.  Failing ends the process: CHECK
 * works from any thread and in forked children of the test.
 */
#ifndef TESTS_RUNNER_H
#define TESTS_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The heap belongs to a sanitizer: its own leak check takes the place of the counters. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define TEST_UNDER_SANITIZER 1
#endif
#endif
#ifndef TEST_UNDER_SANITIZER
#define TEST_UNDER_SANITIZER 0
#endif

#define TEST_MESSAGE 1500      /* bytes that hold any message of a verdict */

/* How a test ended. */
typedef enum TestVerdict {
    TEST_PASSED,
    TEST_SKIPPED,
    TEST_CHECK_FAILED,
    TEST_CRASHED,           /* ended by a signal */
    TEST_TIMED_OUT,
    TEST_UNFINISHED,        /* the process ended before the body did */
    TEST_FD_LEAK,
    TEST_FD_LOST,           /* closed or replaced, and was not the test's */
    TEST_BYTE_LEAK,         /* with a sanitizer: what LeakSanitizer reports */
    TEST_CHILD_LEFT,
    TEST_SIGNAL_LEFT,       /* SIGPIPE arrived, or the signal mask changed */
} TestVerdict;

typedef struct Test {
    const char *name;
    void (*run)(void);
    int timeout_s;          /* 0: the default of 30; longer under a sanitizer */
    TestVerdict expect;     /* anything but TEST_PASSED: the test must end so */
    struct Test *next;
} Test;

void test_register(Test *test);

/*
 * TEST(name) { ... }, or with members of Test: TEST(name, .timeout_s = 5) { ... }.
 * Registered by a constructor, not a linker section: AddressSanitizer pads globals.
 */
#define TEST(ident, ...) \
    static void body_of_##ident(void); \
    static void __attribute__((constructor)) register_##ident(void) \
    { \
        static Test test = { .name = #ident, .run = body_of_##ident, __VA_ARGS__ }; \
        test_register(&test); \
    } \
    static void body_of_##ident(void)

/* A test of the gates: it must end as @how, any other end fails. */
#define FAIL_TEST(ident, how, ...) TEST(ident, .expect = how, __VA_ARGS__)

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            test_fail(__FILE__, __LINE__, "%s", #condition); \
        } \
    } while (0)

/* Any integer that fits a long long: CHECK_INT(n, ==, 3). */
#define CHECK_INT(a, op, b) \
    do { \
        long long a_ = (long long)(a); \
        long long b_ = (long long)(b); \
        if (!(a_ op b_)) { \
            test_fail(__FILE__, __LINE__, "%s %s %s: %lld against %lld", #a, #op, #b, a_, b_); \
        } \
    } while (0)

#define CHECK_PTR(a, op, b) \
    do { \
        const void *a_ = (a); \
        const void *b_ = (b); \
        if (!(a_ op b_)) { \
            test_fail(__FILE__, __LINE__, "%s %s %s: %p against %p", #a, #op, #b, a_, b_); \
        } \
    } while (0)

/* Equal strings; NULL equals NULL only. */
#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a, (a), #b, (b))

/* The text holds the part. */
#define CHECK_STR_HAS(text, part) test_check_str_has(__FILE__, __LINE__, #text, (text), (part))

/* Equal bytes. */
#define CHECK_MEM(a, b, len) test_check_mem(__FILE__, __LINE__, #a, (a), #b, (b), (len))

/* CHECK_ERRNO(call, EPIPE): the call gives -1 and this errno. */
#define CHECK_ERRNO(call, number) \
    test_check_errno(__FILE__, __LINE__, #call, (long long)(call), (number))

void test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void test_check_str(const char *file, int line, const char *a_text, const char *a,
                    const char *b_text, const char *b);
void test_check_str_has(const char *file, int line, const char *text_text, const char *text,
                        const char *part);
void test_check_mem(const char *file, int line, const char *a_text, const void *a,
                    const char *b_text, const void *b, size_t len);
void test_check_errno(const char *file, int line, const char *call_text, long long ret,
                      int number);

/* Where a test is (which row of a table, which fault): shown when it fails, also by crashing. */
void test_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Ends the test as skipped; with CI=true in the environment that is a failure. */
void test_skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* A directory for this run of this test, with a path short enough for unix sockets; removed
 * with what is in it when the run ends, however it ends. */
const char *test_dir(void);

/*
 * test_process: runs a function in a process of its own under all the gates above
 * @run, @opaque: the function
 * @timeout_s: limit in seconds, already the one to use
 * @keep_fds: leave the caller's descriptors open in it
 * @quiet: no standard error
 * @message: where the reason goes, at least 1 byte
 *
 * What the runner itself uses for each test; a test uses it to run many small processes.
 */
TestVerdict test_process(void (*run)(void *opaque), void *opaque, int timeout_s, bool keep_fds,
                         bool quiet, char *message, size_t cap);
const char *test_verdict_name(TestVerdict verdict);
/* A limit in seconds as this build needs it: longer under a sanitizer or valgrind
 * (TEST_TIMEOUT_FACTOR in the environment). */
int test_scale_timeout(int timeout_s);

#endif
