/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * runner.c: runs each test in a process of its own and says how it ended, in TAP.
 *
 * Owns: main() of every C test program, the list of tests, test_process().
 * Rule: the parent has one thread and no descriptor of its own while a test runs; it talks
 * with the child through one shared page, so that nothing of the runner is open in it.
 * A leak is what every run of a body leaves: the first run may fill caches (types, quarks,
 * pools), so a leak in it is only believed when further runs leave more each time.
 */
#include "runner.h"
#include "leftover.h"
#include "stuck.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_S 30
#define SANITIZER_FACTOR 4
#define RUNS_FOR_A_LEAK 4       /* one that fills caches, three that must leave more */

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
void __gcov_dump(void) __attribute__((weak));

/* What parent and child share. */
typedef struct Page {
    atomic_int verdict;         /* of the child; TEST_UNFINISHED until it says otherwise */
    atomic_int failed;          /* the first failure wins */
    char message[1024];
    char note[256];
    char dir[64];               /* what the parent has to remove if the child cannot */
    Leftover before;
    Leftover now;
} Page;

static Test *tests;
static Test **tests_tail = &tests;
static Page *page;              /* of the process this is */
static bool bare;               /* --no-fork */
static atomic_int sigpipes;

void test_register(Test *test)
{
    *tests_tail = test;
    tests_tail = &test->next;
}

int test_scale_timeout(int timeout_s)
{
    const char *factor = getenv("TEST_TIMEOUT_FACTOR");

    if (factor != NULL && atoi(factor) > 0) {
        return timeout_s * atoi(factor);
    }
    return TEST_UNDER_SANITIZER ? timeout_s * SANITIZER_FACTOR : timeout_s;
}

const char *test_verdict_name(TestVerdict verdict)
{
    static const char *const names[] = {
        [TEST_PASSED] = "passed",
        [TEST_SKIPPED] = "skipped",
        [TEST_CHECK_FAILED] = "check failed",
        [TEST_CRASHED] = "crashed",
        [TEST_TIMED_OUT] = "timed out",
        [TEST_UNFINISHED] = "ended before the test did",
        [TEST_FD_LEAK] = "descriptor leak",
        [TEST_FD_LOST] = "descriptor lost",
        [TEST_BYTE_LEAK] = "byte leak",
        [TEST_CHILD_LEFT] = "child process left",
        [TEST_SIGNAL_LEFT] = "signal state",
    };

    return names[verdict];
}

static void leave(int status) __attribute__((noreturn));
static void leave(int status)
{
    if (__gcov_dump != NULL) {
        __gcov_dump();
    }
    _exit(status);
}

/* Ends the child with a verdict; the first one to come wins. */
static void end_with(TestVerdict verdict, const char *fmt, va_list args) __attribute__((noreturn));
static void end_with(TestVerdict verdict, const char *fmt, va_list args)
{
    if (bare) {
        vfprintf(stderr, fmt, args);
        fputc('\n', stderr);
        abort();
    }
    if (atomic_exchange(&page->failed, 1) == 0) {
        vsnprintf(page->message, sizeof(page->message), fmt, args);
        atomic_store(&page->verdict, verdict);
    }
    leave(verdict == TEST_SKIPPED ? 0 : 1);
}

static void end_as(TestVerdict verdict, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
static void end_as(TestVerdict verdict, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    end_with(verdict, fmt, args);
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
    char text[800];
    const char *base = strrchr(file, '/');
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    end_as(TEST_CHECK_FAILED, "%s:%d: %s", base != NULL ? base + 1 : file, line, text);
}

void test_skip(const char *fmt, ...)
{
    const char *ci = getenv("CI");
    va_list args;

    va_start(args, fmt);
    end_with(ci != NULL && strcmp(ci, "true") == 0 ? TEST_CHECK_FAILED : TEST_SKIPPED, fmt, args);
}

void test_note(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(page->note, sizeof(page->note), fmt, args);
    va_end(args);
}

void test_check_str(const char *file, int line, const char *a_text, const char *a,
                    const char *b_text, const char *b)
{
    if (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0)) {
        return;
    }
    test_fail(file, line, "%s equals %s: \"%.300s\" against \"%.300s\"", a_text, b_text,
              a != NULL ? a : "(null)", b != NULL ? b : "(null)");
}

void test_check_str_has(const char *file, int line, const char *text_text, const char *text,
                        const char *part)
{
    if (text == NULL || strstr(text, part) == NULL) {
        test_fail(file, line, "%s has \"%s\": it is \"%.500s\"", text_text, part,
                  text != NULL ? text : "(null)");
    }
}

void test_check_mem(const char *file, int line, const char *a_text, const void *a,
                    const char *b_text, const void *b, size_t len)
{
    const unsigned char *x = a;
    const unsigned char *y = b;

    for (size_t i = 0; i < len; i++) {
        if (x[i] != y[i]) {
            test_fail(file, line, "%s equals %s: byte %zu of %zu is 0x%02x against 0x%02x",
                      a_text, b_text, i, len, x[i], y[i]);
        }
    }
}

void test_check_errno(const char *file, int line, const char *call_text, long long ret,
                      int number)
{
    int seen = errno;

    if (ret != -1) {
        test_fail(file, line, "%s fails with %s: it gave %lld", call_text, strerrorname_np(number),
                  ret);
    }
    if (seen != number) {
        test_fail(file, line, "%s fails with %s: it was %s", call_text, strerrorname_np(number),
                  strerror(seen));
    }
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    return remove(path);
}

static void remove_dir(void)
{
    if (page->dir[0] != '\0') {
        nftw(page->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        page->dir[0] = '\0';
    }
}

const char *test_dir(void)
{
    const char *base = getenv("TMPDIR");

    if (page->dir[0] == '\0') {
        if (base == NULL || strlen(base) > 30) {
            base = "/tmp";
        }
        snprintf(page->dir, sizeof(page->dir), "%s/qio-test-XXXXXX", base);
        if (mkdtemp(page->dir) == NULL) {
            page->dir[0] = '\0';
            test_fail(__FILE__, __LINE__, "cannot make a directory in %s: %m", base);
        }
    }
    return page->dir;
}

static void count_sigpipe(int signum)
{
    atomic_fetch_add(&sigpipes, 1);
}

/* The state every test starts from, whatever the runner was started with. */
static void set_up_child(pid_t parent, bool keep_fds, bool quiet)
{
    struct sigaction action = { .sa_handler = count_sigpipe };
    int null_fd = open("/dev/null", O_RDWR);
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);       /* it died before the line above */
    }
    setpgid(0, 0);
    dup2(null_fd, STDIN_FILENO);
    if (quiet) {
        dup2(null_fd, STDERR_FILENO);
    }
    if (null_fd > STDERR_FILENO) {
        close(null_fd);
    }
    if (!keep_fds) {
        syscall(SYS_close_range, 3u, ~0u, 0u);
    }
    sigaction(SIGPIPE, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* One run and what it left. */
static TestVerdict run_once(void (*run)(void *opaque), void *opaque)
{
    int child;

    leftover_take(&page->before);
    run(opaque);
    remove_dir();
    if (atomic_load(&page->failed)) {
        leave(1);       /* a forked child of the test said so */
    }
    child = leftover_child();
    if (child != 0) {
        end_as(TEST_CHILD_LEFT, child > 0 ? "child %d was not waited for" : "a child still runs",
               child);
    }
    if (atomic_load(&sigpipes) > 0) {
        end_as(TEST_SIGNAL_LEFT, "SIGPIPE reached the program");
    }
    leftover_take(&page->now);
    return leftover_compare(&page->before, &page->now, page->message, sizeof(page->message));
}

/* The child: runs until a run leaves nothing, so one-time caches pass and leaks do not. */
static void run_in_child(void (*run)(void *opaque), void *opaque) __attribute__((noreturn));
static void run_in_child(void (*run)(void *opaque), void *opaque)
{
    bool trace = getenv("TEST_TRACE_LEAKS") != NULL;
    TestVerdict verdict = TEST_PASSED;

    for (int i = 0; i < RUNS_FOR_A_LEAK; i++) {
        if (trace && i == RUNS_FOR_A_LEAK - 1) {
            alloc_mark();
        }
        verdict = run_once(run, opaque);
        if (verdict != TEST_FD_LEAK && verdict != TEST_BYTE_LEAK) {
            break;
        }
    }
    if (trace && verdict == TEST_BYTE_LEAK) {
        alloc_print_new();
    }
    if (verdict != TEST_PASSED) {
        end_as(verdict, "%s", strdupa(page->message));
    }
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0) {
        end_as(TEST_BYTE_LEAK, "LeakSanitizer found a leak, see above");
    }
    atomic_store(&page->verdict, TEST_PASSED);
    leave(0);
}

/* Waits for the child, at most the time it has; its exit status, or -1 when it had to be
 * killed. */
static int wait_for_child(pid_t pid, int timeout_s, bool quiet)
{
    struct pollfd waiter = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
    bool in_time = true;
    int status;

    if (waiter.fd >= 0) {
        in_time = TEMP_FAILURE_RETRY(poll(&waiter, 1, timeout_s * 1000)) != 0;
        close(waiter.fd);
    }
    if (!in_time && !quiet) {
        stuck_print(pid);
    }
    kill(-pid, SIGKILL);        /* also what the test started and left */
    kill(pid, in_time ? 0 : SIGKILL);
    TEMP_FAILURE_RETRY(waitpid(pid, &status, 0));
    return in_time ? status : -1;
}

static TestVerdict judge(int status, int timeout_s, Page *shared)
{
    if (status == -1) {
        snprintf(shared->message, sizeof(shared->message), "no end after %d s", timeout_s);
        return TEST_TIMED_OUT;
    }
    if (WIFSIGNALED(status)) {
        snprintf(shared->message, sizeof(shared->message), "%s",
                 strsignal(WTERMSIG(status)));
        return TEST_CRASHED;
    }
    if (atomic_load(&shared->verdict) == TEST_UNFINISHED) {
        /* Sanitizers end the process with a status of their own. */
        snprintf(shared->message, sizeof(shared->message), "exit status %d",
                 WEXITSTATUS(status));
        return TEST_UNDER_SANITIZER && WEXITSTATUS(status) != 0 ? TEST_CRASHED : TEST_UNFINISHED;
    }
    return atomic_load(&shared->verdict);
}

/* A message is one line of TAP, whatever a test put into it. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

TestVerdict test_process(void (*run)(void *opaque), void *opaque, int timeout_s, bool keep_fds,
                         bool quiet, char *message, size_t cap)
{
    Page *outer = page;
    Page *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t parent = getpid();
    TestVerdict verdict;
    pid_t pid;

    if (shared == MAP_FAILED) {
        snprintf(message, cap, "mmap: %s", strerror(errno));
        return TEST_CRASHED;
    }
    atomic_store(&shared->verdict, TEST_UNFINISHED);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        page = shared;
        set_up_child(parent, keep_fds, quiet);
        run_in_child(run, opaque);
    }
    if (pid < 0) {
        snprintf(message, cap, "fork: %s", strerror(errno));
        munmap(shared, sizeof(*shared));
        return TEST_CRASHED;
    }
    verdict = judge(wait_for_child(pid, timeout_s, quiet), timeout_s, shared);
    snprintf(message, cap, "%s%s%s", shared->message, shared->note[0] != '\0' ? ", at: " : "",
             shared->note);
    make_printable(message);
    page = shared;
    remove_dir();
    page = outer;
    munmap(shared, sizeof(*shared));
    return verdict;
}

/* -- the program ------------------------------------------------------------------- */

static void run_test(void *opaque)
{
    ((Test *)opaque)->run();
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One line of TAP, and the reason as a comment; true when it is as it should be. */
static bool report(const Test *test, int number, TestVerdict verdict, const char *message,
                   double seconds)
{
    bool good = verdict == test->expect || verdict == TEST_SKIPPED;

    printf("%sok %d - %s", good ? "" : "not ", number, test->name);
    if (verdict == TEST_SKIPPED) {
        printf(" # SKIP %s\n", message);
        return true;
    }
    printf(" (%.0f ms)\n", seconds * 1000);
    if (test->expect != TEST_PASSED && good) {
        printf("# %s: caught: %s: %s\n", test->name, test_verdict_name(verdict), message);
    } else if (test->expect != TEST_PASSED) {
        printf("# %s: %s %s; it had to end as: %s\n", test->name, test_verdict_name(verdict),
               message, test_verdict_name(test->expect));
    } else if (!good) {
        printf("# %s: %s: %s\n", test->name, test_verdict_name(verdict), message);
    }
    return good;
}

static bool is_selected(const Test *test, char **patterns)
{
    if (patterns[0] == NULL) {
        return true;
    }
    for (int i = 0; patterns[i] != NULL; i++) {
        if (fnmatch(patterns[i], test->name, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* Gives the numbers of tests that went well and badly. */
static void run_tests(char **patterns, int *good, int *bad)
{
    char message[TEST_MESSAGE];
    double start;

    for (Test *test = tests; test != NULL; test = test->next) {
        int timeout_s = test->timeout_s != 0 ? test->timeout_s : DEFAULT_TIMEOUT_S;
        TestVerdict verdict;

        if (!is_selected(test, patterns)) {
            continue;
        }
        start = seconds_now();
        verdict = test_process(run_test, test, test_scale_timeout(timeout_s), false,
                               test->expect != TEST_PASSED, message, sizeof(message));
        if (report(test, *good + *bad + 1, verdict, message, seconds_now() - start)) {
            ++*good;
        } else {
            ++*bad;
        }
    }
}

/* In this process, for a debugger: no gates. */
static int run_bare(char **patterns)
{
    static Page own;

    page = &own;
    bare = true;
    for (Test *test = tests; test != NULL; test = test->next) {
        if (is_selected(test, patterns)) {
            printf("%s\n", test->name);
            test->run();
            remove_dir();
        }
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: TEST-PROGRAM [--list | --no-fork] [NAME-OR-PATTERN ...]\n"
            "environment: TEST_TRACE_LEAKS=1 shows where leaked blocks come from,\n"
            "TEST_TIMEOUT_FACTOR=N multiplies time limits\n"
            "memcheck: valgrind --trace-children=yes --soname-synonyms=somalloc=NONE\n");
    return 2;
}

/* GLib reads these once, before main(): memory from malloc(), and a warning is a failure. */
static void set_up_glib(char **argv)
{
    char self[4096] = "";

    /* By its path: under valgrind the link itself leads to valgrind. */
    if (getenv("G_SLICE") == NULL && readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
        setenv("G_SLICE", "always-malloc", 1);
        setenv("G_DEBUG", "fatal-warnings", 0);
        execv(self, argv);
        perror("cannot start the program again");
    }
}

int main(int argc, char **argv)
{
    char **patterns = argv + 1;
    int good = 0;
    int bad = 0;

    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (Test *test = tests; test != NULL; test = test->next) {
            puts(test->name);
        }
        return 0;
    }
    set_up_glib(argv);
    if (argc > 1 && strcmp(argv[1], "--no-fork") == 0) {
        return run_bare(patterns + 1);
    }
    if (argc > 1 && argv[1][0] == '-') {
        return usage();
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    run_tests(patterns, &good, &bad);
    printf("1..%d\n# %d of %d as they should be\n", good + bad, good, good + bad);
    if (good + bad == 0) {
        fprintf(stderr, "no test of that name\n");
        return 2;
    }
    return bad == 0 ? 0 : 1;
}
