# SPDX-License-Identifier: LGPL-2.1-or-later
"""64 B ping-pong on one thread: qio and the standard library's socket against direct calls.

One operation is a message to the other side and one back: two writes, two reads.  The floor is
C's write(2) and read(2), loaded from floor.so, in slices that alternate with the case.
Output: the lines of bench.h.
"""
import ctypes
import os
import socket
import sys
import time

import qio

MESSAGE = 64
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 200))


def qio_pingpong():
    a, b = qio.pair()
    out, buf = bytes(MESSAGE), bytearray(MESSAGE)

    def run(n, a_write=a.write, b_write=b.write, a_read=a.readinto, b_read=b.readinto):
        for _ in range(n):
            a_write(out)
            b_read(buf)
            b_write(out)
            a_read(buf)
    return run, (a, b)


def socket_pingpong():
    a, b = socket.socketpair()
    out, buf = bytes(MESSAGE), bytearray(MESSAGE)

    def run(n, a_write=a.send, b_write=b.send, a_read=a.recv_into, b_read=b.recv_into):
        for _ in range(n):
            a_write(out)
            b_read(buf)
            b_write(out)
            a_read(buf)
    return run, (a, b)


def c_pingpong(lib):
    a, b = socket.socketpair()
    # blocking descriptors: what a C program would use
    fds = a.fileno(), b.fileno()

    def run(n):
        if lib.floor_write_read(*fds, MESSAGE, 2 * n) != 2 * n:
            sys.exit("the floor failed")
    return run, (a, b)


def slice_ns(run, n):
    start = time.thread_time_ns()
    run(n)
    return (time.thread_time_ns() - start) / n


def count(run):
    n = 1
    while slice_ns(run, n) * n < 2e6:
        n *= 2
    return n


def compare(name, case, floor, goal):
    run, keep = case
    floor_run, floor_keep = floor
    n, floor_n = count(run), count(floor_run)
    best = floor_best = float("inf")
    for _ in range(ROUNDS):
        best = min(best, slice_ns(run, n))
        floor_best = min(floor_best, slice_ns(floor_run, floor_n))
    print(f"{name}\t{best:.1f}\t{floor_best:.1f}\t{best / floor_best:.3f}\t{goal}", flush=True)
    for end in (*keep, *floor_keep):
        end.close()


def main():
    lib = ctypes.CDLL(sys.argv[1])
    lib.floor_write_read.argtypes = [ctypes.c_int] * 3 + [ctypes.c_int64]
    lib.floor_write_read.restype = ctypes.c_int64
    compare("Python: 64 B ping-pong / C write + read", qio_pingpong(), c_pingpong(lib), 1.05)
    compare("Python socket module: the same", socket_pingpong(), c_pingpong(lib), 0)


main()
