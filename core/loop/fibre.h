/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/fibre.h: tells the sanitizers and valgrind about stacks, for loop/coroutine.c only.
 *
 * Owns: struct Fibre and its functions, which in ordinary builds do nothing but name the stack
 * to valgrind (a few instructions), where its header was there at compile time.
 * Rule: fibre_leave() is the last thing before a switch, fibre_arrive() the first thing after
 * it, on the new stack.
 */
#ifndef QIO_LOOP_FIBRE_H
#define QIO_LOOP_FIBRE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define FIBRE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBRE_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FIBRE_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define FIBRE_TSAN 1
#endif

#ifdef FIBRE_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef FIBRE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Without it valgrind takes a switch between two stacks that are near each other for a large
 * frame, and what lies between for dead. */
#if __has_include(<valgrind/valgrind.h>)
#define FIBRE_VALGRIND 1
#include <valgrind/valgrind.h>
#endif

typedef struct Fibre {
#ifdef FIBRE_VALGRIND
    unsigned int valgrind_id;
#endif
#ifdef FIBRE_ASAN
    void *fake_stack;
    const void *bottom;
    size_t size;
#endif
#ifdef FIBRE_TSAN
    void *tsan;
#endif
    char unused;                /* C has no empty struct */
} Fibre;

/* A new stack.  The leak check reads it: what only a suspended coroutine knows is not lost. */
static inline void fibre_init(Fibre *fibre, void *bottom, size_t size)
{
#ifdef FIBRE_VALGRIND
    fibre->valgrind_id = VALGRIND_STACK_REGISTER(bottom, (char *)bottom + size);
#endif
#ifdef FIBRE_ASAN
    fibre->bottom = bottom;
    fibre->size = size;
    __lsan_register_root_region(bottom, size);
#endif
#ifdef FIBRE_TSAN
    fibre->tsan = __tsan_create_fiber(0);
#endif
}

static inline void fibre_fini(Fibre *fibre)
{
#ifdef FIBRE_VALGRIND
    VALGRIND_STACK_DEREGISTER(fibre->valgrind_id);
#endif
#ifdef FIBRE_ASAN
    __lsan_unregister_root_region(fibre->bottom, fibre->size);
#endif
#ifdef FIBRE_TSAN
    __tsan_destroy_fiber(fibre->tsan);
#endif
}

/* The stack of a thread, which its maker did not tell us about. */
static inline void fibre_init_thread(Fibre *fibre)
{
#ifdef FIBRE_TSAN
    fibre->tsan = __tsan_get_current_fiber();
#endif
}

/* ended: from is not coming back. */
static inline void fibre_leave(Fibre *from, Fibre *to, bool ended)
{
#ifdef FIBRE_ASAN
    __sanitizer_start_switch_fiber(ended ? NULL : &from->fake_stack, to->bottom, to->size);
#endif
#ifdef FIBRE_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
}

static inline void fibre_arrive(Fibre *self, Fibre *from)
{
#ifdef FIBRE_ASAN
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &size);
    /* How the bounds of a thread's own stack become known. */
    from->bottom = bottom;
    from->size = size;
#endif
}

/* How many ended coroutines to keep: none where using an ended one should be found. */
#ifdef FIBRE_ASAN
#define FIBRE_KEEP 0
#else
#define FIBRE_KEEP 64
#endif

#endif
