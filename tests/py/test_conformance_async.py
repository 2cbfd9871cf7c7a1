# SPDX-License-Identifier: LGPL-2.1-or-later
"""The promises of test_conformance.py when every call is awaited, on asyncio's loop and on uvloop:
see awaited.py."""

import zlib

import pytest

from aioloops import LOOPS
from awaited import Awaited, Loops
from rigs import RIGS
from stacks import STACKS, stack_rig
from test_conformance import (  # noqa: F401
    pytestmark,
    test_bad_arguments_are_named,
    test_close_ends_a_read_of_another_thread,
    test_closed_is_closed,
    test_end_is_the_end_and_stays,
    test_full_channel,
    test_limit_loses_nothing,
    test_lines_however_they_come,
    test_peek_leaves_the_bytes,
    test_read_exactly,
    test_read_into_parts,
    test_read_until_takes_the_first_of_many,
    test_reading_nothing_is_no_end,
    test_reads_bulk_while_it_is_sent,
    test_reads_what_was_sent,
    test_send_eof_ends_writing_alone,
    test_timeout_loses_nothing,
    test_wait_says_what_a_read_would_do,
    test_with_closes,
    test_writable_at_once,
    test_write_all_finishes_in_either_mode,
    test_writes_arrive,
    test_writes_parts_in_order,
    test_writing_nothing,
    test_writing_to_nobody_is_an_error_not_a_signal,
)


@pytest.fixture
def blocking(request):
    """Every call waits, in one of the loops, always the same for the same test."""
    return sorted(LOOPS)[zlib.crc32(request.node.name.encode()) % 2]


@pytest.fixture
def make(request, tmp_path, blocking):
    """make(name): a rig whose channel is awaited, closed when the test ends."""
    made = []
    loops = Loops(blocking)

    def make_rig(name):
        if name in STACKS:
            rig = stack_rig(name, tmp_path, request.getfixturevalue('pki'))
        else:
            rig = RIGS[name](tmp_path)
        made.append(rig)
        rig.channel = Awaited(rig.channel, loops)
        return rig

    yield make_rig
    for rig in made:
        rig.close()
    loops.close()
