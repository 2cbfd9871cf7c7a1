# SPDX-License-Identifier: LGPL-2.1-or-later
"""The event loops that the tests of qio.aio run in."""

import asyncio
import gc

import uvloop

LOOPS = {'asyncio': asyncio.SelectorEventLoop, 'uvloop': uvloop.new_event_loop}


def run(name, main, debug=True):
    """Runs main() in a new loop of that name; what the loop was told of as an error is one."""
    told = []
    loop = LOOPS[name]()
    loop.set_debug(debug)
    loop.slow_callback_duration = 60
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        asyncio.set_event_loop(None)
        loop.close()
    assert not told, told
    return result


async def _nothing():
    pass


# What a loop makes once for the whole process is no leak of a test.
for name in LOOPS:
    run(name, _nothing)


def collected():
    """Everything that nobody refers to is gone."""
    for _ in range(3):
        gc.collect()
