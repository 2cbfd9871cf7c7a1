# SPDX-License-Identifier: LGPL-2.1-or-later
"""cffi over the flat ABI: the header goes to cdef() as it is."""
import pathlib

import cffi

ffi = cffi.FFI()
ffi.cdef((pathlib.Path(__file__).parents[2] / 'core/abi/qioh-abi.h').read_text())
qio = ffi.dlopen('libqio.so.0')
err = ffi.new('qioh_error *')


def check(ok):
    if not ok:
        raise OSError(ffi.string(err.message).decode())


words = [ffi.new('char[]', word) for word in (b'tr', b'a-z', b'A-Z')]
tr = qio.qioh_channel_new_command(ffi.new('char *[]', words + [ffi.NULL]), ffi.NULL, err)
check(tr)
check(qio.qioh_channel_write_all(tr, b'hello from cffi\n', 16, err) == 0)
check(qio.qioh_channel_shutdown(tr, qio.QIOH_SHUTDOWN_WRITE, err) == 0)
line = ffi.new('char[80]')
n = qio.qioh_channel_read(tr, line, 80, err)
check(n > 0)
print(ffi.buffer(line, n)[:].decode(), end='')
check(qio.qioh_channel_close(tr, err) == 0)
qio.qioh_channel_unref(tr)
