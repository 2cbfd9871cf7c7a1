# SPDX-License-Identifier: LGPL-2.1-or-later
"""ctypes over the flat ABI.  A handle is a pointer-sized number, an error 512 bytes of ours."""
from ctypes import (CDLL, POINTER, Structure, byref, c_char, c_char_p, c_int32, c_int64, c_size_t,
                    c_uint32, c_uint64, c_void_p, create_string_buffer)


class Error(Structure):
    _fields_ = [('struct_size', c_uint32), ('code', c_int32), ('sys_errno', c_int32),
                ('domain', c_int32), ('number', c_int64), ('bytes', c_uint64),
                ('message', c_char * 480)]


def declare(name, result, *args):
    function = getattr(CDLL('libqio.so.0'), name)
    function.restype, function.argtypes = result, args
    return function


def check(ok):
    if not ok:
        raise OSError(err.message.decode())


ERR = POINTER(Error)
new_command = declare('qioh_channel_new_command', c_void_p, POINTER(c_char_p), c_void_p, ERR)
write_all = declare('qioh_channel_write_all', c_int32, c_void_p, c_char_p, c_size_t, ERR)
shutdown = declare('qioh_channel_shutdown', c_int32, c_void_p, c_uint32, ERR)
read = declare('qioh_channel_read', c_int64, c_void_p, c_char_p, c_size_t, ERR)
close = declare('qioh_channel_close', c_int32, c_void_p, ERR)
unref = declare('qioh_channel_unref', None, c_void_p)

err = Error()
tr = new_command((c_char_p * 4)(b'tr', b'a-z', b'A-Z', None), None, byref(err))
check(tr)
check(write_all(tr, b'hello from ctypes\n', 18, byref(err)) == 0)
check(shutdown(tr, 2, byref(err)) == 0)         # QIOH_SHUTDOWN_WRITE
line = create_string_buffer(80)
n = read(tr, line, 80, byref(err))
check(n > 0)
print(line[:n].decode(), end='')
check(close(tr, byref(err)) == 0)
unref(tr)
