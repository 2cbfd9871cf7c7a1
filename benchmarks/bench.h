/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench.h: a case against its floor, in one process.
 *
 * Owns: timing.  Both are run in short slices that alternate, on the thread's CPU clock (they
 * never sleep), and the figure is the minimum of many slices of each: a noisy neighbour hits
 * both, and a minimum forgets it.  Only the ratio means something.
 * Output: a line "case <TAB> ns <TAB> floor ns <TAB> ratio <TAB> goal", goal 0 = none.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef void BenchFn(void *arg, uint64_t n);    /* does n operations */

static inline uint64_t bench_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline double bench_slice(BenchFn *fn, void *arg, uint64_t n)
{
    uint64_t start = bench_ns();

    fn(arg, n);
    return (double)(bench_ns() - start) / (double)n;
}

static inline int bench_env(const char *name, int fallback)
{
    const char *value = getenv(name);

    return value ? atoi(value) : fallback;
}

/* How many operations fill a slice of about 2 ms. */
static inline uint64_t bench_count(BenchFn *fn, void *arg)
{
    uint64_t n = 1;

    while (bench_slice(fn, arg, n) * (double)n < 2e6) {
        n *= 2;
    }
    return n;
}

static inline void bench_compare(const char *name, BenchFn *fn, void *arg, BenchFn *floor_fn,
                                 void *floor_arg, double goal)
{
    int rounds = bench_env("BENCH_ROUNDS", 200);
    uint64_t n = bench_count(fn, arg);
    uint64_t floor_n = bench_count(floor_fn, floor_arg);
    double best = 1e18, floor_best = 1e18;
    int i;

    for (i = 0; i < rounds; i++) {
        double ns = bench_slice(fn, arg, n);
        double floor_ns = bench_slice(floor_fn, floor_arg, floor_n);

        best = ns < best ? ns : best;
        floor_best = floor_ns < floor_best ? floor_ns : floor_best;
    }
    printf("%s\t%.1f\t%.1f\t%.3f\t%.2f\n", name, best, floor_best, best / floor_best, goal);
    fflush(stdout);
}

#endif
