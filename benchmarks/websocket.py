# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSocket echo on one thread: blocking qio channels against websockets on uvloop, node-ws, and C.

One operation is a message to the server and back.  Each peer has both of its ends in one process
of one thread, over a unix socket, without compression; slices of 2 ms alternate between the peer,
by its own wall clock, and the case.  A peer that is not installed is said to be not found.
Output: the lines of bench.h.
"""

import ctypes
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get('BENCH_ROUNDS', 200))
PEERS = {
    'websockets on uvloop': ['/usr/bin/python3', os.path.join(HERE, 'echo_uvloop.py')],
    'node-ws': ['node', os.path.join(HERE, 'echo-node.js')],
}


class Peer:
    """A child that measures itself when asked."""

    def __init__(self, argv, folder):
        path = os.path.join(folder, os.path.basename(argv[1]))
        self.process = subprocess.Popen([*argv, path], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        env={**os.environ, 'NODE_PATH': '/usr/share/nodejs'})
        self.there = self.process.stdout.readline() == 'ready\n'

    def slice_ns(self, size, n):
        self.process.stdin.write(f'{size} {n}\n')
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / n

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Floor:
    def __init__(self, library):
        self.echo = ctypes.CDLL(library).floor_ws_echo
        self.echo.argtypes = [ctypes.c_int] * 3 + [ctypes.c_int64]
        self.echo.restype = ctypes.c_int64
        self.pair = socket.socketpair()

    def slice_ns(self, size, n):
        start = time.thread_time_ns()
        if self.echo(*(end.fileno() for end in self.pair), size, n) != n:
            sys.exit('the floor failed')
        return (time.thread_time_ns() - start) / n


def count(slice_ns):
    n = 1
    while slice_ns(n) * n < 2e6:
        n *= 2
    return n


def compare(name, case, floor, goal):
    n, floor_n = count(case), count(floor)
    best = floor_best = float('inf')
    for _ in range(ROUNDS):
        best = min(best, case(n))
        floor_best = min(floor_best, floor(floor_n))
    print(f'{name}\t{best:.1f}\t{floor_best:.1f}\t{best / floor_best:.3f}\t{goal}', flush=True)


def main():
    floor = Floor(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix='qio-bench-') as folder:
        for name, argv in PEERS.items():
            peer = Peer(argv, folder)
            for size, words in ((64, '64 B'), (65536, '64 KiB')):
                row = f'WebSocket {words} echo, {name} / C'
                if peer.there:
                    compare(row, functools.partial(peer.slice_ns, size),
                            functools.partial(floor.slice_ns, size), 0)
                else:
                    print(f'{row}\tnot found', flush=True)
            peer.close()


main()
