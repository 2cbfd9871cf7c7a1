# SPDX-License-Identifier: LGPL-2.1-or-later
"""The flat ABI through ctypes, made from the header alone.

tools/abi.py parses core/abi/qioh-abi.h; nothing about a function is written here a second time,
so a new one is covered by the tests that go over FUNCTIONS, or fails them.
"""

import ctypes
import importlib.util
import os
import pathlib
import re
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get('QIO_BUILD', 'build')
LIBRARY = BUILD / 'core/libqio.so.0'


def _load_abi_script():
    spec = importlib.util.spec_from_file_location('abi_script', ROOT / 'tools/abi.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


abi = _load_abi_script()
HEADER = abi.parse()
CONST = types.SimpleNamespace(**HEADER.constants)

_SCALARS = {
    'int32_t': ctypes.c_int32, 'uint32_t': ctypes.c_uint32, 'int64_t': ctypes.c_int64,
    'uint64_t': ctypes.c_uint64, 'size_t': ctypes.c_size_t, 'char': ctypes.c_char,
}
STRUCTS = {}
CALLBACKS = {}


def is_handle(type_name):
    """'qioh_channel *', not 'qioh_channel **'."""
    return type_name.endswith(' *') and type_name[:-2] in HEADER.handles


def ctype(type_name):
    """The ctypes type of a C type of the header."""
    if type_name in HEADER.typedefs:
        type_name = HEADER.typedefs[type_name]
    if type_name == 'void':
        return None
    if type_name in _SCALARS:
        return _SCALARS[type_name]
    if type_name in CALLBACKS:
        return CALLBACKS[type_name]
    base = re.sub(r'\bconst\b|\*|\s', '', type_name)
    if type_name in ('const char *',):
        return ctypes.c_char_p
    if base in STRUCTS:
        return ctypes.POINTER(STRUCTS[base])
    # handles, buffers, outputs: an address or a token
    return ctypes.c_void_p


def _make_structs():
    for name in HEADER.structs:
        STRUCTS[name] = type(name, (ctypes.Structure,), {})


def _fill_structs():
    for name, members in HEADER.structs.items():
        fields = []
        for type_name, member, length in members:
            kind = ctype(type_name)
            fields.append((member, kind * length if length else kind))
        STRUCTS[name]._fields_ = fields


def _make_callbacks():
    for name, (result, parameters) in HEADER.callbacks.items():
        CALLBACKS[name] = ctypes.CFUNCTYPE(ctype(result), *(ctype(p.type) for p in parameters))


_make_structs()
_make_callbacks()
_fill_structs()
FUNCTIONS = {function.name: function for function in HEADER.functions}
lib = ctypes.CDLL(str(LIBRARY))
for _function in HEADER.functions:
    _symbol = getattr(lib, _function.name)
    _symbol.restype = ctype(_function.result)
    _symbol.argtypes = [ctype(p.type) for p in _function.parameters]


def new_error():
    return STRUCTS['qioh_error'](struct_size=ctypes.sizeof(STRUCTS['qioh_error']))


def live(kind=0):
    return lib.qioh_debug_live(kind)
