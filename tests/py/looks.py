# SPDX-License-Identifier: LGPL-2.1-or-later
"""Synchronous calls that move what has come out of a channel's descriptor and leave some of it.

Each gives how many bytes of NEWS it has taken.
"""

import threading

import pytest

import qio

NEWS = b'some news'


def wait(channel):
    assert channel.wait('in', timeout=0)
    return 0


def peek(channel):
    assert channel.peek(4) == NEWS[:4]
    return 0


def read_some(channel):
    return len(channel.read_some(2))


def readinto(channel):
    return channel.readinto(bytearray(2))


def no_line(channel):
    with pytest.raises(qio.LimitError):
        channel.read_until(b'\n', limit=4)
    return 0


def write(channel):
    channel.write(b'old')
    return 0


LOOKS = {look.__name__: look for look in (wait, peek, read_some, readinto, no_line, write)}


def in_thread(look):
    """The same look, in a thread that has ended when it returns."""
    def threaded(channel):
        taken = []
        thread = threading.Thread(target=lambda: taken.append(look(channel)))
        thread.start()
        thread.join()
        return taken[0]
    return threaded


LOOKS.update({f'{name}_in_a_thread': in_thread(look) for name, look in list(LOOKS.items())})
