# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library in a process of its own: loaded by a thread, closed, loaded again."""

import subprocess
import textwrap

from flat import LIBRARY


def run_python(code):
    done = subprocess.run(['/usr/bin/python3', '-c', textwrap.dedent(code), str(LIBRARY)],
                          capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dlopen_and_dlclose_from_a_thread():
    """GLib's types cannot be taken back, so the library stays: closing it is harmless."""
    assert run_python('''
        import _ctypes, ctypes, sys, threading

        def use():
            lib = ctypes.CDLL(sys.argv[1])
            lib.qioh_channel_new_null.restype = ctypes.c_void_p
            for name in ('qioh_channel_unref', 'qioh_channel_get_kind'):
                getattr(lib, name).argtypes = [ctypes.c_void_p] + [ctypes.c_void_p] * (
                    name == 'qioh_channel_get_kind')
            channel = lib.qioh_channel_new_null(None)
            assert lib.qioh_channel_get_kind(channel, None) == 5
            lib.qioh_channel_unref(channel)
            _ctypes.dlclose(lib._handle)

        for _ in range(3):
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        print('well')
    ''') == 'well\n'

