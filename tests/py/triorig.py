# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of qio.trio share: tests that are coroutines, tasks with results, layers."""

import functools

import trio
import trio.testing

import qio
import qio.trio as qtrio
from pki import PSK_KEY, PSK_USER
from streams import PATIENCE

AsyncChannel = qtrio.AsyncChannel
SERVER = qio.TLSCreds.psk(lookup=lambda user: PSK_KEY if user == PSK_USER else None, server=True)
CLIENT = qio.TLSCreds.psk(user=PSK_USER, key=PSK_KEY)


def in_trio(function):
    """The test as a coroutine, with a limit."""
    @functools.wraps(function)
    def test(*args, **kwargs):
        async def main():
            with trio.fail_after(PATIENCE * 2):
                await function(*args, **kwargs)
        trio.run(main)
    return test


def pair():
    return map(AsyncChannel, qio.pair())


class Result:
    """What a task in a nursery gave."""

    def __init__(self, nursery, function, *args):
        self.done = trio.Event()
        self.value = self.error = None
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run, function, args)

    async def _run(self, function, args):
        try:
            with self.scope:
                self.value = await function(*args)
        except Exception as error:
            self.error = error
        self.done.set()

    async def get(self):
        await self.done.wait()
        if self.error is not None:
            raise self.error
        return self.value


async def settle():
    """Until every task waits."""
    await trio.testing.wait_all_tasks_blocked()


def layers_of(kind):
    """The two ends with that layer on them."""
    async def plain(channel, server):
        return channel

    async def tls(channel, server):
        return await channel.start_tls(SERVER if server else CLIENT, server=server)

    async def websocket(channel, server):
        return await (await tls(channel, server)).websocket(server=server)

    return {'plain': plain, 'tls': tls, 'websocket': websocket}[kind]


async def layered(kind):
    a, b = pair()
    upgrade = layers_of(kind)
    async with trio.open_nursery() as nursery:
        first = Result(nursery, upgrade, a, True)
        second = Result(nursery, upgrade, b, False)
    return await first.get(), await second.get()
