/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-closure.c: bare function pointers: every type in every place, the grammar and where it
 * names a fault, release exactly once in every outcome, and an end inside a call, from another
 * thread, in a forked child and where the system gives no memory for code.
 *
 * Owns: a dispatch function that notes what it was called with.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qio/qioh.h>
#include "abi/closure.h"
#include "runner.h"

typedef struct Calls {
    int calls, releases;
    void (*act)(struct Calls *calls, qioh_closure *closure, void *const *args, void *result);
    void *opaque;
} Calls;

static void dispatch(qioh_closure *closure, void *const *args, void *result, void *user_data)
{
    Calls *calls = user_data;

    CHECK_INT(*(uint64_t *)result, ==, 0);
    calls->calls++;
    if (calls->act) {
        calls->act(calls, closure, args, result);
    }
}

static void release(void *user_data)
{
    ((Calls *)user_data)->releases++;
}

/* A closure that has to work, and its pointer. */
static qioh_closure *make(const char *signature, Calls *calls, void *code)
{
    qioh_error error = { 0 };
    qioh_closure *closure = qioh_closure_new(signature, dispatch, calls, release, &error);

    if (!closure) {
        test_fail(__FILE__, __LINE__, "%s: %s", signature, error.message);
    }
    *(void **)code = qioh_closure_get_code(closure, NULL);
    CHECK(*(void **)code != NULL);
    return closure;
}

/* ---- types ---- */

static void check_all(Calls *calls, qioh_closure *closure, void *const *args, void *result)
{
    CHECK_INT(*(int8_t *)args[0], ==, -8);
    CHECK_INT(*(uint8_t *)args[1], ==, 208);
    CHECK_INT(*(int16_t *)args[2], ==, -1600);
    CHECK_INT(*(uint16_t *)args[3], ==, 51600);
    CHECK_INT(*(int32_t *)args[4], ==, -320000);
    CHECK_INT(*(uint32_t *)args[5], ==, 4000000000u);
    CHECK_INT(*(int64_t *)args[6], ==, INT64_MIN);
    CHECK(*(uint64_t *)args[7] == UINT64_MAX);
    CHECK(*(float *)args[8] == 1.5f);
    CHECK(*(double *)args[9] == -2.25);
    CHECK_PTR(*(void **)args[10], ==, calls);
    CHECK(*(size_t *)args[11] == SIZE_MAX);
}

TEST(arguments_of_every_type_arrive)
{
    void (*code)(int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float,
                 double, void *, size_t);
    Calls calls = { .act = check_all };
    qioh_closure *closure = make("v(i8,u8,i16,u16,i32,u32,i64,u64,f32,f64,p,z)", &calls, &code);

    code(-8, 208, -1600, 51600, -320000, 4000000000u, INT64_MIN, UINT64_MAX, 1.5f, -2.25, &calls,
         SIZE_MAX);
    CHECK_INT(calls.calls, ==, 1);
    qioh_closure_unref(closure);
    CHECK_INT(calls.releases, ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

static void copy_result(Calls *calls, qioh_closure *closure, void *const *args, void *result)
{
    const struct iovec { void *base; size_t len; } *from = calls->opaque;

    memcpy(result, from->base, from->len);
}

typedef const char *Text;

/* What the pointer of a type gives when the dispatch function stores `value`. */
#define CHECK_RESULT(name, type, value) \
    do { \
        type stored = (value), got; \
        struct { void *base; size_t len; } from = { &stored, sizeof(stored) }; \
        Calls calls = { .act = copy_result, .opaque = &from }; \
        type (*code)(void); \
        qioh_closure *closure = make(name "()", &calls, &code); \
        test_note("%s", name); \
        got = code(); \
        CHECK(got == stored); \
        qioh_closure_unref(closure); \
        CHECK_INT(calls.releases, ==, 1); \
    } while (0)

TEST(results_of_every_type_come_back)
{
    CHECK_RESULT("i8", int8_t, -128);
    CHECK_RESULT("u8", uint8_t, 255);
    CHECK_RESULT("i16", int16_t, -32768);
    CHECK_RESULT("u16", uint16_t, 65535);
    CHECK_RESULT("i32", int32_t, QIOH_E_CALLBACK);
    CHECK_RESULT("u32", uint32_t, UINT32_MAX);
    CHECK_RESULT("i64", int64_t, INT64_MIN);
    CHECK_RESULT("u64", uint64_t, UINT64_MAX);
    CHECK_RESULT("f32", float, 0.1f);
    CHECK_RESULT("f64", double, 0.1);
    CHECK_RESULT("p", Text, "text");
    CHECK_RESULT("z", size_t, SIZE_MAX);
}

/* ---- the grammar ---- */

TEST(spaces_are_allowed_between_the_parts)
{
    Calls calls = { 0 };
    int32_t (*code)(void *, void *);
    qioh_closure *closure = make("  i32 ( p ,  p )  ", &calls, &code);

    CHECK_INT(code(NULL, NULL), ==, 0);
    qioh_closure_unref(closure);
}

TEST(a_fault_in_a_signature_is_named_with_its_place)
{
    static const struct {
        const char *signature, *what;
    } rows[] = {
        { "", "a type is needed" }, { "()", "at byte 0" }, { "i32", "'(' is needed at byte 3" },
        { "i32(", "at byte 4" }, { "i32(p", "',' or ')' is needed at byte 5" },
        { "i32(p,)", "a type is needed" }, { "i32(,p)", "at byte 4" },
        { "i32(p q)", "at byte 6, before 'q)'" }, { "i32(i33)", "before 'i33)'" },
        { "i32(v)", "v is no argument" }, { "int(p)", "at byte 0" }, { "i32(p)x", "at byte 6" },
        { "i32(p))", "nothing is expected" }, { "i32(P)", "before 'P)'" },
        { "i32(p\n)", "before '\\x0a)'" }, { "i32(\xff)", "before '\\xff)'" },
        { "v(p,p,p,p,p,p,p,p,p,p,p,p,p,p,p,p,p)", "more than 16 arguments at byte 34" },
        { "i3", "at byte 0" }, { "i322()", "at byte 0" }, { "pp()", "at byte 0" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        qioh_error error = { 0 };
        Calls calls = { 0 };

        test_note("%s", rows[i].signature);
        CHECK(qioh_closure_new(rows[i].signature, dispatch, &calls, release, &error) == NULL);
        CHECK_INT(error.code, ==, QIOH_E_INVAL);
        CHECK_STR_HAS(error.message, rows[i].what);
        CHECK_INT(calls.releases, ==, 1);
    }
}

TEST(sixteen_arguments_are_taken)
{
    Calls calls = { 0 };
    void (*code)(void);
    qioh_closure *closure = make("v(p,p,p,p,p,p,p,p,p,p,p,p,p,p,p,p)", &calls, &code);

    qioh_closure_unref(closure);
}

TEST(what_is_missing_is_named_and_released)
{
    qioh_error error = { 0 };
    Calls calls = { 0 };

    CHECK(qioh_closure_new(NULL, dispatch, &calls, release, &error) == NULL);
    CHECK_INT(error.code, ==, QIOH_E_INVAL);
    CHECK_STR_HAS(error.message, "signature is NULL");
    CHECK(qioh_closure_new("v()", NULL, &calls, release, &error) == NULL);
    CHECK_STR_HAS(error.message, "dispatch is NULL");
    CHECK_INT(calls.releases, ==, 2);
    CHECK(qioh_closure_new("v()", NULL, &calls, NULL, NULL) == NULL);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- ends ---- */

typedef struct Inside {
    int32_t (*code)(int32_t);
    int depth;
} Inside;

static void end_inside(Calls *calls, qioh_closure *closure, void *const *args, void *result)
{
    Inside *inside = calls->opaque;

    if (inside->depth++ == 0) {
        qioh_closure_unref(closure);
        CHECK(qioh_closure_get_code(closure, NULL) == NULL);
        /* One more call while this one runs: there is no closure any more. */
        CHECK_INT(inside->code(1), ==, 0);
        CHECK_INT(inside->depth, ==, 1);
        CHECK_INT(calls->releases, ==, 0);
    }
    *(int32_t *)result = *(int32_t *)args[0] + 1;
}

TEST(a_closure_may_be_given_up_inside_its_own_call)
{
    Inside inside = { 0 };
    Calls calls = { .act = end_inside, .opaque = &inside };

    make("i32(i32)", &calls, &inside.code);
    CHECK_INT(inside.code(41), ==, 42);
    CHECK_INT(calls.calls, ==, 1);
    CHECK_INT(calls.releases, ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
    qioh_closure_unref(NULL);       /* frees what it stood on */
}

static void nest(Calls *calls, qioh_closure *closure, void *const *args, void *result)
{
    Inside *inside = calls->opaque;
    int32_t n = *(int32_t *)args[0];

    *(int32_t *)result = n == 0 ? 0 : n + inside->code(n - 1);
}

TEST(a_closure_may_call_itself)
{
    Inside inside = { 0 };
    Calls calls = { .act = nest, .opaque = &inside };
    qioh_closure *closure = make("i32(i32)", &calls, &inside.code);

    CHECK_INT(inside.code(10), ==, 55);
    CHECK_INT(calls.calls, ==, 11);
    qioh_closure_unref(closure);
}

typedef struct Meeting {
    pthread_barrier_t barrier;
    void (*code)(void);
} Meeting;

static void meet(Calls *calls, qioh_closure *closure, void *const *args, void *result)
{
    Meeting *meeting = calls->opaque;

    pthread_barrier_wait(&meeting->barrier);        /* the call runs */
    pthread_barrier_wait(&meeting->barrier);        /* the handle is given up */
    CHECK_INT(calls->releases, ==, 0);
}

static void *call_it(void *opaque)
{
    ((Meeting *)opaque)->code();
    return NULL;
}

TEST(an_unref_on_another_thread_leaves_a_running_call_alone)
{
    Meeting meeting;
    Calls calls = { .act = meet, .opaque = &meeting };
    qioh_closure *closure;
    pthread_t thread;

    pthread_barrier_init(&meeting.barrier, NULL, 2);
    closure = make("v()", &calls, &meeting.code);
    CHECK_INT(pthread_create(&thread, NULL, call_it, &meeting), ==, 0);
    pthread_barrier_wait(&meeting.barrier);
    qioh_closure_unref(closure);
    CHECK_INT(qioh_debug_live(QIOH_KIND_CLOSURE), ==, 0);
    pthread_barrier_wait(&meeting.barrier);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(calls.releases, ==, 1);
    pthread_barrier_destroy(&meeting.barrier);
    qioh_closure_unref(NULL);
}

static void make_and_end_many(Calls *calls, qioh_closure *closure, void *const *args, void *result)
{
    for (int i = 0; i < 50; i++) {
        Calls other = { 0 };
        void (*code)(void);
        qioh_closure *made = make("v()", &other, &code);

        code();
        qioh_closure_unref(made);
        CHECK_INT(other.calls, ==, 1);
    }
}

TEST(closures_come_and_go_inside_a_call)
{
    Calls calls = { .act = make_and_end_many };
    void (*code)(void);
    qioh_closure *closure = make("v()", &calls, &code);

    code();
    qioh_closure_unref(closure);
    CHECK_INT(calls.releases, ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* ---- where code cannot be made ---- */

static void *refuse(size_t size, void **code)
{
    return NULL;
}

TEST(without_memory_for_code_it_is_not_supported)
{
    void *(*before)(size_t, void **) = abi_closure_alloc;
    qioh_error error = { 0 };
    Calls calls = { 0 };

    abi_closure_alloc = refuse;
    CHECK(qioh_closure_new("v()", dispatch, &calls, release, &error) == NULL);
    abi_closure_alloc = before;
    CHECK_INT(error.code, ==, QIOH_E_NOTSUP);
    CHECK_INT(calls.releases, ==, 1);
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}

/* mmap and mprotect with PROT_EXEC give EACCES from here on. */
static bool forbid_code(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(where_the_system_forbids_code_it_is_not_supported)
{
    qioh_error error = { 0 };
    Calls calls = { 0 };
    int status;
    pid_t pid = fork();

    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        if (!forbid_code()) {
            _exit(77);
        }
        CHECK(qioh_closure_new("v()", dispatch, &calls, release, &error) == NULL);
        CHECK_INT(error.code, ==, QIOH_E_NOTSUP);
        CHECK_INT(calls.releases, ==, 1);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        test_skip("no seccomp here");
    }
    CHECK_INT(status, ==, 0);
}

/* ---- fork ---- */

TEST(a_forked_child_frees_nothing_of_the_parents_and_makes_its_own)
{
    Calls calls = { 0 }, own = { 0 };
    void (*code)(void);
    qioh_closure *closure = make("v()", &calls, &code);
    int status;
    pid_t pid = fork();

    CHECK_INT(pid, >=, 0);
    if (pid == 0) {
        qioh_error error = { 0 };
        void (*other)(void);
        qioh_closure *made;

        CHECK(qioh_closure_get_code(closure, &error) == NULL);
        CHECK_INT(error.code, ==, QIOH_E_FORKED);
        code();
        CHECK_INT(calls.calls, ==, 1);
        qioh_closure_unref(closure);
        CHECK_INT(calls.releases, ==, 0);
        made = make("v()", &own, &other);
        other();
        qioh_closure_unref(made);
        CHECK_INT(own.calls, ==, 1);
        CHECK_INT(own.releases, ==, 1);
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    code();
    CHECK_INT(calls.calls, ==, 1);
    qioh_closure_unref(closure);
    CHECK_INT(calls.releases, ==, 1);
}

/* ---- one function for all of them ---- */

/* What a binding does: one dispatch function, told apart by user_data. */
typedef struct Use {
    const char *signature;
    int calls, releases;
    qioh_closure *closure;
    void *code;
} Use;

static void one_for_all(qioh_closure *closure, void *const *args, void *result, void *user_data)
{
    Use *use = user_data;

    CHECK_PTR(closure, ==, use->closure);
    use->calls++;
    if (strcmp(use->signature, "i64(p,p,z,u32,p,p)") == 0) {
        const qioh_iovec *iov = *(const qioh_iovec **)args[1];

        memset(iov->base, 'c', iov->len);
        *(int64_t *)result = (int64_t)iov->len;
    }
}

static void use_release(void *user_data)
{
    ((Use *)user_data)->releases++;
}

static void *use_code(Use *use)
{
    use->closure = qioh_closure_new(use->signature, one_for_all, use, use_release, NULL);
    CHECK(use->closure != NULL);
    use->code = qioh_closure_get_code(use->closure, NULL);
    return use->code;
}

TEST(one_dispatch_function_is_a_watch_the_ops_of_a_channel_a_task_and_their_releases)
{
    Use watch_fn = { "i32(p,p,u32,p,p)" }, watch_release = { "v(p)" };
    Use task_fn = { "i32(p,i32,p,p)" }, task_release = { "v(p)" };
    Use readv = { "i64(p,p,z,u32,p,p)" }, ops_release = { "v(p)" };
    Use *all[] = { &watch_fn, &watch_release, &task_fn, &task_release, &readv, &ops_release };
    qioh_channel_ops ops = { .struct_size = sizeof(ops) };
    qioh_loop *loop = qioh_loop_new(NULL);
    qioh_channel *custom, *null = qioh_channel_new_null(NULL);
    qioh_watch *watch;
    qioh_task *task;
    char buf[5];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        use_code(all[i]);
    }
    ops.readv = readv.code;
    ops.release = ops_release.code;
    custom = qioh_channel_new_custom(NULL, &ops, NULL, NULL);
    CHECK(custom != NULL);
    CHECK_INT(qioh_channel_read(custom, buf, 5, NULL), ==, 5);
    CHECK_MEM(buf, "ccccc", 5);
    watch = qioh_watch_new(loop, null, QIOH_IN, watch_fn.code, NULL, watch_release.code, NULL);
    task = qioh_task_start_close(null, -1, loop, 1, NULL);
    CHECK_INT(qioh_task_set_callback(task, task_fn.code, NULL, task_release.code, NULL), ==, 0);
    for (int turn = 0; turn < 5; turn++) {
        CHECK_INT(qioh_loop_dispatch(loop, 0, NULL), >=, 0);
    }
    qioh_watch_unref(watch);
    qioh_task_unref(task);
    qioh_channel_unref(null);
    qioh_channel_unref(custom);
    qioh_loop_unref(loop);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        test_note("%s, number %zu", all[i]->signature, i);
        CHECK_INT(all[i]->calls, >=, 1);
        CHECK(all[i]->calls == 1 || all[i] == &watch_fn || all[i] == &readv);
        qioh_closure_unref(all[i]->closure);
        CHECK_INT(all[i]->releases, ==, 1);
    }
    CHECK_INT(qioh_debug_live(QIOH_KIND_ANY), ==, 0);
}
