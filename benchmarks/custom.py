# SPDX-License-Identifier: LGPL-2.1-or-later
"""One read and one write of a channel written in Python, made from C, against the bare call.

The floor calls the same method of a plain object from C and copies once, as benchmarks/custom-floor.c
does by hand; what a channel adds is the library's way to the method and the checks of what it
returns.  Slices alternate.  Output: the lines of bench.h.
"""

import ctypes
import os
import sys
import time

import qio

SIZES = [1, 1024, 16384, 65536]
ROUNDS = int(os.environ.get('BENCH_ROUNDS', 200))
GOAL = 1.2


class Methods:
    def readinto(self, b):
        return len(b)

    def write(self, b):
        return len(b)


class Channel(Methods, qio.CustomChannel):
    pass


def token(channel):
    """The handle, which the object has behind its head."""
    return ctypes.c_void_p.from_address(id(channel) + object.__basicsize__)


def slice_ns(run, n):
    start = time.thread_time_ns()
    assert run(n) == 0
    return (time.thread_time_ns() - start) / n


def count(run):
    n = 1
    while slice_ns(run, n) * n < 1e6:
        n *= 2
    return n


def compare(name, case, floor):
    n = max(count(case), count(floor))
    best = [min(times) for times in zip(*(
        (slice_ns(case, n), slice_ns(floor, n)) for _ in range(ROUNDS)))]
    print(f'{name}\t{best[0]}\t{best[1]}\t{best[0] / best[1]}\t{GOAL}', flush=True)


def main(path):
    lib = ctypes.PyDLL(path)
    channel, plain = Channel(), Methods()
    for function in (lib.case_reads, lib.case_writes):
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
    for function in (lib.floor_reads, lib.floor_writes):
        function.argtypes = [ctypes.py_object, ctypes.c_size_t, ctypes.c_long]
    for size in SIZES:
        for verb in ('reads', 'writes'):
            case, floor = getattr(lib, 'case_' + verb), getattr(lib, 'floor_' + verb)
            compare(f'python channel, {verb[:-1]} of {size} B from C',
                    lambda n: case(token(channel), size, n), lambda n: floor(plain, size, n))


main(sys.argv[1])
