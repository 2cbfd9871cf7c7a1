# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who accepts in an event loop outlasts a time without descriptors, also for the wait itself."""

import asyncio
import contextlib
import os
import resource

import pytest
import trio

import qio
from qio import aio
from qio import trio as qio_trio


@contextlib.contextmanager
def no_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match='Too many open files'):
            os.dup(0)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def dial(uri):
    return qio.connect(uri, timeout=5)


def test_asyncio(tmp_path):
    async def main():
        async with await aio.listen(f'unix:{tmp_path}/s') as listener:
            with dial(listener.address):        # what the loop itself needs is there after this
                async with await listener.accept():
                    pass
            with no_descriptors():
                accepting = asyncio.create_task(listener.accept())
                for _ in range(20):
                    await asyncio.sleep(0)
                assert not accepting.done()
            with dial(listener.address):
                async with await asyncio.wait_for(accepting, 5):
                    pass

    asyncio.run(main())


def test_trio(tmp_path):
    async def main():
        async with await qio_trio.listen(f'unix:{tmp_path}/s') as listener:
            with dial(listener.address):
                async with await listener.accept():
                    pass
            accepted = []

            async def accept():
                accepted.append(await listener.accept())

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    with no_descriptors():
                        nursery.start_soon(accept)
                        for _ in range(20):
                            await trio.lowlevel.checkpoint()
                        assert not accepted
                    client = dial(listener.address)
            client.close()
            await accepted[0].aclose()

    trio.run(main)
