# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSocket echo on one thread: blocking qio channels against websockets on uvloop, node-ws, and C.

One operation is a message to the server and back.  Each peer has both of its ends in one process
of one thread, over a unix socket, without compression; slices of 2 ms alternate between the peer,
which times itself, and the case.  A peer that is not installed is said to be not found.
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
import threading
import time

import qio

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


class Blocking:
    """Both ends of ours, in this thread."""

    def __init__(self):
        pair = qio.pair()
        ends = []
        server = threading.Thread(target=lambda: ends.append(
            pair[1].websocket(server=True, mode='messages')))
        server.start()
        self.client = pair[0].websocket(mode='messages')
        server.join()
        self.server = ends[0]

    def slice_ns(self, size, n):
        send, receive = self.client.send, self.client.recv
        answer, take = self.server.send, self.server.recv
        message = bytes(size)
        start = time.thread_time_ns()
        for _ in range(n):
            send(message)
            answer(take())
            receive()
        return (time.thread_time_ns() - start) / n


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


SIZES = {64: '64 B', 65536: '64 KiB'}
# At least so many times the peer's rate.
GOALS = {('websockets on uvloop', 64): 5, ('websockets on uvloop', 65536): 6,
         ('node-ws', 64): 3, ('node-ws', 65536): 6}


def compare_peer(name, peer, ours):
    for size, words in SIZES.items():
        row = f'WebSocket {words} echo, blocking Python / {name}'
        if peer.there:
            compare(row, functools.partial(ours.slice_ns, size),
                    functools.partial(peer.slice_ns, size), f'{1 / GOALS[name, size]:.3f}')
        else:
            print(f'{row}\tnot found', flush=True)


def main():
    floor, ours = Floor(sys.argv[1]), Blocking()
    for size, words in SIZES.items():
        compare(f'WebSocket {words} echo, blocking Python / C without a library',
                functools.partial(ours.slice_ns, size), functools.partial(floor.slice_ns, size), 0)
    with tempfile.TemporaryDirectory(prefix='qio-bench-') as folder:
        for name, argv in PEERS.items():
            peer = Peer(argv, folder)
            compare_peer(name, peer, ours)
            peer.close()


main()
