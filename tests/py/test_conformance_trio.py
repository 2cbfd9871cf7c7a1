# SPDX-License-Identifier: LGPL-2.1-or-later
"""The promises of test_conformance.py when every call is awaited in trio, each in a run of its own:
a channel belongs to no run, and threads share it."""

import pytest
import trio

import qio
import qio.trio
import test_conformance_async
from awaited import Awaited
from rigs import RIGS
from stacks import STACKS, stack_rig

globals().update((name, value) for name, value in vars(test_conformance_async).items()
                 if name.startswith('test_'))


class AwaitedInTrio(Awaited):
    def __init__(self, channel):
        self._channel = channel
        self._async = qio.trio.AsyncChannel(channel)

    def _run(self, verb, *args, timeout=..., **kwargs):
        if timeout is not ... and timeout is not None and timeout < 0:
            raise ValueError(timeout)
        written = 0

        async def call():
            nonlocal written
            operation = getattr(self._async, verb)(*args, **kwargs)
            if timeout is ... or timeout is None:
                return await operation
            with trio.fail_after(timeout):
                try:
                    return await operation
                except trio.Cancelled as error:
                    written = getattr(error, 'bytes_written', 0)
                    raise
        try:
            return trio.run(call)
        except trio.TooSlowError as error:
            timed_out = qio.TimeoutError('not in time')
            timed_out.bytes_written = written
            raise timed_out from error

    def __exit__(self, *exc):
        async def close():
            await self._async.aclose(timeout=0.05)
        trio.run(close)


@pytest.fixture
def blocking():
    """Every call waits."""
    return 'trio'


@pytest.fixture
def make(request, tmp_path, blocking):
    """make(name): a rig whose channel is awaited, closed when the test ends."""
    made = []

    def make_rig(name):
        if name in STACKS:
            rig = stack_rig(name, tmp_path, request.getfixturevalue('pki'))
        else:
            rig = RIGS[name](tmp_path)
        made.append(rig)
        rig.channel = AwaitedInTrio(rig.channel)
        return rig

    yield make_rig
    for rig in made:
        rig.close()
