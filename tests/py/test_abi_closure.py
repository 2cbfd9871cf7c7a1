# SPDX-License-Identifier: LGPL-2.1-or-later
"""Closures as a binding uses them: one dispatch function behind every callback of the header, with
signatures worked out from the header itself, from ctypes, cffi and LuaJIT."""

import ctypes

import cffi
import pytest

from flat import CALLBACKS, CONST, HEADER, LIBRARY, ROOT, STRUCTS, lib, live, new_error
from test_abi_header import TEXT, run

LETTERS = {'int32_t': 'i32', 'uint32_t': 'u32', 'int64_t': 'i64', 'uint64_t': 'u64',
           'size_t': 'z', 'void': 'v'}


def letter(type_name):
    type_name = HEADER.typedefs.get(type_name, type_name)
    return 'p' if '*' in type_name else LETTERS[type_name]


def signature_of(callback):
    result, parameters = HEADER.callbacks[callback]
    return f"{letter(result)}({','.join(letter(p.type) for p in parameters)})"


SIGNATURES = {name: signature_of(name) for name in HEADER.callbacks}
SAMPLES = {'i32': -7, 'u32': 4000000000, 'i64': -1 << 40, 'u64': 1 << 63, 'z': 1 << 40,
           'p': 0x1234560}


def test_the_guide_lists_every_signature():
    guide = (ROOT / 'docs/abi.md').read_text(encoding='utf-8')
    for name, signature in SIGNATURES.items():
        assert f'| `{name}` | `{signature}` |' in guide


class Dispatch:
    """One C function for everything: user_data says what is meant."""

    def __init__(self):
        self.targets = {}
        self.released = []
        self.fn = CALLBACKS['qioh_closure_fn'](self.call)
        self.release_fn = CALLBACKS['qioh_release_fn'](self.released.append)

    def call(self, closure, args, result, user_data):
        signature, target = self.targets[user_data]
        letters = signature[:-1].split('(')[1]
        args = (ctypes.c_void_p * 16).from_address(args) if letters else ()
        values = [CTYPES[kind].from_address(args[i]).value
                  for i, kind in enumerate(filter(None, letters.split(',')))]
        value = target(*values)
        if not signature.startswith('v('):
            CTYPES[signature.split('(')[0]].from_address(result).value = value

    def closure(self, signature, target):
        number = len(self.targets) + 1
        self.targets[number] = signature, target
        error = new_error()
        made = lib.qioh_closure_new(signature.encode(), self.fn, number, self.release_fn, error)
        assert made, error.message
        return made

    def code(self, signature, target):
        made = self.closure(signature, target)
        return made, lib.qioh_closure_get_code(made, None)


CTYPES = {'i32': ctypes.c_int32, 'u32': ctypes.c_uint32, 'i64': ctypes.c_int64,
          'u64': ctypes.c_uint64, 'z': ctypes.c_size_t, 'p': ctypes.c_void_p}


@pytest.mark.parametrize('callback', SIGNATURES)
def test_every_callback_of_the_header_can_be_a_closure(callback):
    dispatch, seen = Dispatch(), []

    def target(*values):
        seen.append(values)
        return -5

    signature = SIGNATURES[callback]
    closure, code = dispatch.code(signature, target)
    letters = signature[:-1].split('(')[1].split(',')
    called = ctypes.CFUNCTYPE(CTYPES.get(signature.split('(')[0]),
                              *(CTYPES[kind] for kind in letters))
    result = called(code)(*(SAMPLES[kind] for kind in letters))
    assert seen == [tuple(SAMPLES[kind] for kind in letters)]
    assert result == (None if signature.startswith('v(') else -5)
    assert not dispatch.released
    lib.qioh_closure_unref(closure)
    assert dispatch.released == [1]


def ops_of(codes):
    """A struct of ops from pointers by name."""
    ops = STRUCTS['qioh_channel_ops'](struct_size=ctypes.sizeof(STRUCTS['qioh_channel_ops']))
    for name, code in codes.items():
        setattr(ops, name, CALLBACKS[f'qioh_channel_ops.{name}'](code))
    return ops


def test_one_dispatch_function_is_a_channel_a_watch_and_a_task_in_ctypes():
    before = live()
    dispatch, said, closures = Dispatch(), [], []
    error = new_error()

    def made(name, target):
        closure, code = dispatch.code(SIGNATURES[name], target)
        closures.append(closure)
        return code

    def readv(user_data, iov, niov, flags, fds, error):
        block = STRUCTS['qioh_iovec'].from_address(iov)
        ctypes.memmove(block.base, b'from ctypes', 11)
        return 11

    def writev(user_data, iov, niov, flags, fds, error):
        block = STRUCTS['qioh_iovec'].from_address(iov)
        said.append(ctypes.string_at(block.base, block.len))
        return block.len

    def on_watch(watch, channel, condition, user_data, error):
        said.append((condition, user_data))
        return 0

    def on_task(task, status, user_data, error):
        said.append((status, user_data))
        return 0

    ops = ops_of({'readv': made('qioh_channel_ops.readv', readv),
                  'writev': made('qioh_channel_ops.writev', writev),
                  'release': made('qioh_channel_ops.release', said.append)})
    loop = lib.qioh_loop_new(error)
    channel = lib.qioh_channel_new_custom(None, ctypes.pointer(ops), 70, error)
    assert channel, error.message
    buf = ctypes.create_string_buffer(64)
    assert lib.qioh_channel_read(channel, buf, 64, error) == 11
    assert buf.value == b'from ctypes'
    assert lib.qioh_channel_write(channel, b'to ctypes', 9, error) == 9
    release = made('qioh_release_fn', lambda user_data: said.append(user_data))
    watch = lib.qioh_watch_new(loop, channel, CONST.QIOH_OUT,
                               CALLBACKS['qioh_watch_fn'](made('qioh_watch_fn', on_watch)), 71,
                               CALLBACKS['qioh_release_fn'](release), error)
    task = lib.qioh_task_start_close(channel, -1, loop, 1, error)
    assert lib.qioh_task_set_callback(task, CALLBACKS['qioh_task_fn'](
        made('qioh_task_fn', on_task)), 72, CALLBACKS['qioh_release_fn'](release), error) == 0
    while lib.qioh_loop_wait(loop, 0, error) == 1:
        assert lib.qioh_loop_dispatch(loop, 0, error) >= 0
    for unref, handle in ((lib.qioh_watch_unref, watch), (lib.qioh_task_unref, task),
                          (lib.qioh_channel_unref, channel), (lib.qioh_loop_unref, loop)):
        unref(handle)
    assert said[0] == b'to ctypes'
    assert (0, 72) in said and any(word[1] == 71 for word in said if isinstance(word, tuple))
    assert sorted(word for word in said if isinstance(word, int)) == [70, 71, 72]
    for closure in closures:
        lib.qioh_closure_unref(closure)
    assert len(dispatch.released) == len(closures)
    assert live() == before


def test_one_dispatch_function_is_a_channel_in_cffi():
    ffi = cffi.FFI()
    ffi.cdef(TEXT)
    flat = ffi.dlopen(str(LIBRARY))
    released = []

    @ffi.callback('qioh_closure_fn')
    def dispatch(closure, args, result, user_data):
        if user_data == ffi.cast('void *', 1):
            iov = ffi.cast('qioh_iovec **', args[1])[0]
            ffi.memmove(iov.base, b'from cffi', 9)
            ffi.cast('int64_t *', result)[0] = 9
        else:
            released.append(int(ffi.cast('uintptr_t', ffi.cast('void **', args[0])[0])))

    error = ffi.new('qioh_error *')
    closures = [flat.qioh_closure_new(SIGNATURES['qioh_channel_ops.' + name].encode(), dispatch,
                                      ffi.cast('void *', number), ffi.NULL, error)
                for number, name in ((1, 'readv'), (2, 'release'))]
    ops = ffi.new('qioh_channel_ops *', {'struct_size': ffi.sizeof('qioh_channel_ops')})
    ops.readv = ffi.cast('void *', flat.qioh_closure_get_code(closures[0], error))
    ops.release = ffi.cast('void *', flat.qioh_closure_get_code(closures[1], error))
    channel = flat.qioh_channel_new_custom(ffi.NULL, ops, ffi.cast('void *', 99), error)
    assert channel, ffi.string(error.message)
    buf = ffi.new('char[64]')
    assert flat.qioh_channel_read(channel, buf, 64, error) == 9
    assert ffi.string(buf) == b'from cffi'
    flat.qioh_channel_unref(channel)
    assert released == [99]
    for closure in closures:
        flat.qioh_closure_unref(closure)


LUAJIT = r'''
local ffi = require "ffi"
ffi.cdef(io.open(arg[1]):read "*a")
local lib = ffi.load(arg[2])
local calls = {}
-- The one callback that is ever made: LuaJIT has few.
local dispatch = ffi.cast("qioh_closure_fn", function(closure, args, result, user_data)
  calls[tonumber(ffi.cast("uintptr_t", user_data))](args, result)
end)
local closures = {}
local function code(signature, fn)
  calls[#closures + 1] = fn
  local closure = lib.qioh_closure_new(signature, dispatch, ffi.cast("void *", #closures + 1), nil, nil)
  assert(closure ~= nil)
  closures[#closures + 1] = closure
  return lib.qioh_closure_get_code(closure, nil)
end
local loop = lib.qioh_loop_new(nil)
local channel = lib.qioh_channel_new_null(nil)
local fired, released = 0, 0
local watch = lib.qioh_watch_new(loop, channel, lib.QIOH_IN, code("WATCH", function(args, result)
  assert(ffi.cast("qioh_channel **", args[1])[0] == channel)
  assert(ffi.cast("uint32_t *", args[2])[0] == lib.QIOH_IN)
  fired = fired + 1
  ffi.cast("int32_t *", result)[0] = 0
end), nil, code("RELEASE", function() released = released + 1 end), nil)
lib.qioh_loop_dispatch(loop, 0, nil)
local task = lib.qioh_task_start_close(channel, -1, loop, 1, nil)
local ended
assert(lib.qioh_task_set_callback(task, code("TASK", function(args)
  ended = ffi.cast("int32_t *", args[1])[0]
end), nil, code("RELEASE", function() released = released + 1 end), nil) == 0)
local ops = ffi.new("qioh_channel_ops", ffi.sizeof "qioh_channel_ops")
ops.readv = ffi.cast("void *", code("READV", function(args, result)
  ffi.copy(ffi.cast("qioh_iovec **", args[1])[0].base, "from LuaJIT", 11)
  ffi.cast("int64_t *", result)[0] = 11
end))
ops.release = ffi.cast("void *", code("OPS_RELEASE", function() released = released + 1 end))
local custom = lib.qioh_channel_new_custom(nil, ops, nil, nil)
local buf = ffi.new "char[64]"
assert(lib.qioh_channel_read(custom, buf, 64, nil) == 11)
assert(ffi.string(buf) == "from LuaJIT")
lib.qioh_channel_unref(custom)
for _ = 1, 5 do lib.qioh_loop_dispatch(loop, 0, nil) end
lib.qioh_watch_unref(watch)
lib.qioh_task_unref(task)
lib.qioh_channel_unref(channel)
lib.qioh_loop_unref(loop)
for _, closure in ipairs(closures) do lib.qioh_closure_unref(closure) end
assert(lib.qioh_debug_live(0) == 0)
print(fired, released, ended)
'''


@pytest.mark.needs('luajit')
def test_one_callback_of_luajit_is_all_of_them(tmp_path):
    script = LUAJIT
    for mark, name in (('WATCH', 'qioh_watch_fn'), ('OPS_RELEASE', 'qioh_channel_ops.release'),
                       ('RELEASE', 'qioh_release_fn'), ('TASK', 'qioh_task_fn'),
                       ('READV', 'qioh_channel_ops.readv')):
        script = script.replace(f'"{mark}"', f'"{SIGNATURES[name]}"')
    (tmp_path / 'closure.lua').write_text(script)
    # Calls that come back into Lua must not be compiled: a rule of LuaJIT's.
    output = run('luajit', '-joff', tmp_path / 'closure.lua', ROOT / 'core/abi/qioh-abi.h', LIBRARY)
    assert output.split() == ['1', '3', '0']
