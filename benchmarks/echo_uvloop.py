# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3-websockets under uvloop, both ends in this process over a unix socket: the peer of
benchmarks/websocket.py, with the lines of echo-node.js.

    echo_uvloop.py SOCKET
"""

import asyncio
import sys
import time

import uvloop
import websockets


async def echo(ws, path=None):
    async for message in ws:
        await ws.send(message)


async def main(path):
    # The C library's allocator keeps to the heap once a larger block has been freed; without, the
    # first asyncio connections map and unmap a buffer for each read.
    bytearray(4 << 20)
    keys = {'compression': None, 'max_size': None}
    async with websockets.unix_serve(echo, path, **keys), \
            websockets.unix_connect(path, 'ws://localhost/', **keys) as ws:
        print('ready', flush=True)
        while line := sys.stdin.readline():
            size, n = map(int, line.split())
            message = bytes(size)
            start = time.thread_time_ns()
            for _ in range(n):
                await ws.send(message)
                await ws.recv()
            print(time.thread_time_ns() - start, flush=True)


uvloop.install()
asyncio.run(main(sys.argv[1]))
