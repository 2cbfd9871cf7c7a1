# SPDX-License-Identifier: LGPL-2.1-or-later
"""An AsyncChannel that looks like a Channel, so that the conformance suite says of qio.aio what it
says of blocking channels.

Each call is awaited in the calling thread's own event loop, with asyncio's time-outs; a channel
belongs to no loop, so threads share it.
"""

import asyncio
import threading

import qio
import qio.aio
from aioloops import LOOPS

VERBS = {'readinto', 'read', 'read_some', 'read_exactly', 'read_until', 'readline', 'readv', 'peek',
         'recv_fds', 'write', 'write_all', 'writev', 'writev_all', 'flush', 'send_fds', 'shutdown',
         'send_eof', 'send', 'recv'}


class Loops:
    """One of a kind for each thread."""

    def __init__(self, name):
        self._make = LOOPS[name]
        self._local = threading.local()
        self._made = []

    def run(self, coroutine):
        loop = getattr(self._local, 'loop', None)
        if loop is None:
            loop = self._local.loop = self._make()
            self._made.append(loop)
        return loop.run_until_complete(coroutine)

    def close(self):
        for loop in self._made:
            loop.close()
        self._made = self._local = None


class Awaited:
    def __init__(self, channel, loops):
        self._channel = channel
        self._async = qio.aio.AsyncChannel(channel)
        self._loops = loops

    def _run(self, verb, *args, timeout=..., **kwargs):
        if timeout is not ... and timeout is not None and timeout < 0:
            raise ValueError(timeout)

        async def call():
            operation = getattr(self._async, verb)(*args, **kwargs)
            if timeout is ... or timeout is None:
                return await operation
            return await asyncio.wait_for(operation, timeout)
        try:
            return self._loops.run(call())
        except asyncio.TimeoutError as error:
            if isinstance(error, qio.Error):
                raise
            timed_out = qio.TimeoutError('not in time')
            timed_out.bytes_written = getattr(error.__cause__, 'bytes_written', 0)
            raise timed_out from error

    def wait(self, condition, *, timeout=...):
        if timeout == 0:
            return self._channel.wait(condition, timeout=0)
        try:
            return self._run('wait', condition, timeout=timeout)
        except qio.TimeoutError:
            return qio.Cond(0)

    def __getattr__(self, name):
        if name in VERBS:
            return lambda *args, **kwargs: self._run(name, *args, **kwargs)
        return getattr(self._channel, name)

    @property
    def name(self):
        return self._async.name

    @name.setter
    def name(self, name):
        self._channel.name = name

    def close(self):
        self._async.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._loops.run(self._async.aclose(timeout=0.05))
