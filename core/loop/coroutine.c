/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/coroutine.c: stackful coroutines.
 *
 * Owns: the switch, the stacks, the pool of ended coroutines.
 * Rule: a coroutine is entered by one thread at a time; its state is an atomic that only the
 * enterer's stack sets back, after the switch, so that nobody can enter it half-way out.
 *
 * The first step onto a new stack goes through ucontext; from then on sigsetjmp without the
 * mask and siglongjmp, which make no system call (swapcontext makes two for each switch).
 * glibc's fortified longjmp takes a jump to another stack for an attack and aborts, hence
 * the first line.  A coroutine that ended waits in the pool inside its trampoline, so a new
 * one on its stack starts without any of this.
 */
#undef _FORTIFY_SOURCE

#include "base/sys.h"
#include "loop/coroutine-priv.h"
#include "loop/fibre.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <ucontext.h>

/* Address space, not memory: a page counts when it is touched. */
#define STACK_SIZE (1024 * 1024)

enum {
    SUSPENDED,
    RUNNING,
    POSTING,        /* running, and post is to be called when it yields */
    ENDED,
};

/* At the upper end of its own stack, but for the one that stands for a thread. */
struct Coroutine {
    sigjmp_buf env;
    CoroutineEntry *entry;
    void *opaque;
    Coroutine *caller;          /* who entered it; NULL: stands for a thread */
    Coroutine *next;            /* in the pool */
    atomic_int state;
    bool started;               /* env is valid */
    bool finished;              /* entry has returned */
    void (*post)(Coroutine *co, void *opaque);
    void *post_opaque;
    char *mapping;
    Fibre fibre;
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static Coroutine *pool;
static int pool_size;

typedef struct Thread {
    Coroutine *current;         /* NULL: none, the thread's own stack */
    Coroutine leader;           /* stands for that stack */
} Thread;

/* Not inlined: within one function, a coroutine may go on in another thread after a switch,
 * and the compiler would keep the address of the first one's variable. */
static Thread *__attribute__((noinline)) this_thread(void)
{
    static __thread Thread thread = { .leader.started = true };
    Thread *self = &thread;

    __asm__ volatile("" : "+r"(self));
    return self;
}

/* ---- stacks ---- */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static Coroutine *stack_new(void)
{
    size_t guard = page_size();
    size_t size = guard + STACK_SIZE;
    char *mapping = sys_mmap(NULL, size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    Coroutine *co;

    if (mapping == MAP_FAILED) {
        return NULL;
    }
    if (sys_mprotect(mapping, guard, PROT_NONE) < 0) {
        sys_munmap(mapping, size);
        return NULL;
    }
    co = (Coroutine *)((uintptr_t)(mapping + size - sizeof(Coroutine)) & ~(uintptr_t)63);
    co->mapping = mapping;
    fibre_init(&co->fibre, mapping + guard, STACK_SIZE);
    return co;
}

static void stack_free(Coroutine *co)
{
    fibre_fini(&co->fibre);
    sys_munmap(co->mapping, page_size() + STACK_SIZE);
}

static Coroutine *pool_take(void)
{
    Coroutine *co;

    pthread_mutex_lock(&pool_lock);
    co = pool;
    if (co) {
        pool = co->next;
        pool_size--;
    }
    pthread_mutex_unlock(&pool_lock);
    return co;
}

static void pool_put(Coroutine *co)
{
    bool keep;

    pthread_mutex_lock(&pool_lock);
    keep = pool_size < FIBRE_KEEP;
    if (keep) {
        co->next = pool;
        pool = co;
        pool_size++;
    }
    pthread_mutex_unlock(&pool_lock);
    if (!keep) {
        stack_free(co);
    }
}

/* ---- the switch ---- */

static void trampoline(unsigned int high, unsigned int low);

/* The first step onto a stack.  Its frame is never returned to, so AddressSanitizer must not
 * fence its variable: the fences would stay. */
static void __attribute__((noinline, no_sanitize("address"))) start(Coroutine *co)
{
    uintptr_t address = (uintptr_t)co;
    size_t guard = page_size();
    ucontext_t context;

    getcontext(&context);
    context.uc_stack.ss_sp = co->mapping + guard;
    context.uc_stack.ss_size = (size_t)((char *)co - (co->mapping + guard));
    context.uc_link = NULL;
    makecontext(&context, (void (*)(void))trampoline, 2,
                (unsigned int)((uint64_t)address >> 32), (unsigned int)address);
    co->started = true;
    setcontext(&context);
}

/* Leaves one stack for another.  Its callers call sigsetjmp() themselves: in a function of
 * its own, each switch would come back through one more mispredicted return. */
static void G_GNUC_NORETURN jump(Coroutine *from, Coroutine *to)
{
    fibre_leave(&from->fibre, &to->fibre, FIBRE_KEEP == 0 && from->finished);
    if (!to->started) {
        start(to);
    }
    siglongjmp(to->env, 1);
}

static void trampoline(unsigned int high, unsigned int low)
{
    Coroutine *co = (Coroutine *)(uintptr_t)((uint64_t)high << 32 | low);

    for (;;) {
        fibre_arrive(&co->fibre, &co->caller->fibre);
        co->entry(co->opaque);
        co->finished = true;
        if (sigsetjmp(co->env, 0) == 0) {
            jump(co, co->caller);
        }
        /* Out of the pool again, with another entry. */
    }
}

/* ---- what the public sees ---- */

Coroutine *qio_coroutine_create(CoroutineEntry *entry, void *opaque)
{
    Coroutine *co;

    g_return_val_if_fail(entry != NULL, NULL);
    co = pool_take();
    if (!co) {
        co = stack_new();
    }
    if (!co) {
        return NULL;
    }
    co->entry = entry;
    co->opaque = opaque;
    co->finished = false;
    atomic_store(&co->state, SUSPENDED);
    return co;
}

/* The coroutine is off its stack: what others may do with it now. */
static void settle(Coroutine *co)
{
    int state = RUNNING;
    void (*post)(Coroutine *co, void *opaque) = NULL;
    void *opaque = NULL;
    bool finished = co->finished;

    if (!atomic_compare_exchange_strong(&co->state, &state, finished ? ENDED : SUSPENDED)) {
        post = co->post;
        opaque = co->post_opaque;
        atomic_store(&co->state, finished ? ENDED : SUSPENDED);
    }
    if (finished) {
        pool_put(co);
    }
    if (post && finished) {
        g_critical("coroutine %p ended although it was scheduled", (void *)co);
    }
    if (post) {
        post(finished ? NULL : co, opaque);
    }
}

/* The caller has made it RUNNING. */
static inline void enter(Coroutine *co)
{
    Thread *thread = this_thread();
    Coroutine *self = thread->current;

    if (!self) {
        self = &thread->leader;
        fibre_init_thread(&self->fibre);
    }
    co->caller = self;
    thread->current = co;
    if (sigsetjmp(self->env, 0) == 0) {
        jump(self, co);
    }
    /* The same thread: co goes back to self only on the thread that entered it from self. */
    fibre_arrive(&self->fibre, &co->fibre);
    thread->current = self->mapping ? self : NULL;
    settle(co);
}

void qio_coroutine_enter(Coroutine *co)
{
    int state = SUSPENDED;

    g_return_if_fail(co != NULL);
    if (!atomic_compare_exchange_strong(&co->state, &state, RUNNING)) {
        g_critical("coroutine %p cannot be entered: it %s", (void *)co,
                   state == ENDED ? "has ended" : "is running");
        return;
    }
    enter(co);
}

bool qio_coroutine_enter_suspended(Coroutine *co)
{
    int state = SUSPENDED;

    if (!atomic_compare_exchange_strong(&co->state, &state, RUNNING)) {
        return false;
    }
    enter(co);
    return true;
}

void qio_coroutine_yield(void)
{
    Coroutine *co = this_thread()->current;

    if (!co) {
        g_critical("qio_coroutine_yield() was called outside a coroutine");
        return;
    }
    if (sigsetjmp(co->env, 0) == 0) {
        jump(co, co->caller);
    }
    fibre_arrive(&co->fibre, &co->caller->fibre);
}

Coroutine *qio_coroutine_self(void)
{
    return this_thread()->current;
}

bool qio_in_coroutine(void)
{
    return qio_coroutine_self() != NULL;
}

bool qio_coroutine_in_coroutine(void)
{
    return qio_in_coroutine();
}

void qio_coroutine_when_suspended(Coroutine *co, void (*func)(Coroutine *co, void *opaque),
                                  void *opaque)
{
    int state = atomic_load(&co->state);

    if (state == RUNNING) {
        co->post = func;
        co->post_opaque = opaque;
        if (atomic_compare_exchange_strong(&co->state, &state, POSTING)) {
            return;
        }
    }
    if (state != SUSPENDED) {
        g_critical("coroutine %p cannot be scheduled: it %s", (void *)co,
                   state == ENDED ? "has ended" : "is scheduled already");
        co = NULL;
    }
    func(co, opaque);
}
