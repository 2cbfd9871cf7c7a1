# SPDX-License-Identifier: LGPL-2.1-or-later
"""The header through every parser that takes it, with the same layouts in each; and the lint that
keeps it so, held to its word with planted faults."""

import ctypes
import json
import re
import subprocess

import cffi
import pytest

from flat import BUILD, CONST, HEADER, LIBRARY, ROOT, STRUCTS, abi

TEXT = (ROOT / 'core/abi/qioh-abi.h').read_text(encoding='utf-8')
INCLUDES = ['-I', str(BUILD / 'core/include')]


def run(*command, **keywords):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=50, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- layouts ----

def layouts_of_ctypes():
    return {name: [ctypes.sizeof(struct)] + [getattr(struct, field[0]).offset
                                             for field in struct._fields_]
            for name, struct in STRUCTS.items()}


def load_cffi():
    ffi = cffi.FFI()
    ffi.cdef(TEXT)
    return ffi


def layouts_of_cffi():
    ffi = load_cffi()
    return {name: [ffi.sizeof(name)] + [ffi.offsetof(name, member) for _, member, _ in members]
            for name, members in HEADER.structs.items()}


def layouts_of_luajit(tmp_path):
    lines = ['local ffi = require "ffi"', f'ffi.cdef[==[{TEXT}]==]']
    for name, members in HEADER.structs.items():
        offsets = ', '.join(f'ffi.offsetof("{name}", "{member}")' for _, member, _ in members)
        lines.append(f'print("{name}", ffi.sizeof("{name}"), {offsets})')
    (tmp_path / 'layout.lua').write_text('\n'.join(lines))
    output = run('luajit', tmp_path / 'layout.lua')
    return {line.split()[0]: [int(word) for word in line.split()[1:]]
            for line in output.splitlines()}


def layouts_of_c(tmp_path):
    lines = ['#include <qio/qioh.h>', '#include <stdio.h>', 'int main(void) {']
    for name, members in HEADER.structs.items():
        lines.append(f'  printf("{name} %zu", sizeof({name}));')
        lines += [f'  printf(" %zu", offsetof({name}, {member}));' for _, member, _ in members]
        lines.append('  printf("\\n");')
    (tmp_path / 'layout.c').write_text('\n'.join(lines + ['  return 0;', '}']))
    run('gcc', *INCLUDES, tmp_path / 'layout.c', '-o', tmp_path / 'layout')
    output = run(tmp_path / 'layout')
    return {line.split()[0]: [int(word) for word in line.split()[1:]]
            for line in output.splitlines()}


@pytest.mark.needs('luajit', 'gcc')
def test_layouts_are_the_same_everywhere(tmp_path):
    in_c = layouts_of_c(tmp_path)
    assert in_c['qioh_error'][0] == 512
    assert layouts_of_ctypes() == in_c
    assert layouts_of_cffi() == in_c
    assert layouts_of_luajit(tmp_path) == in_c


def test_cffi_calls_what_it_parsed():
    ffi = load_cffi()
    lib = ffi.dlopen(str(LIBRARY))
    error = ffi.new('qioh_error *')
    channel = lib.qioh_channel_new_null(error)
    assert channel != ffi.NULL
    assert lib.qioh_channel_write(channel, b'abc', 3, error) == 3
    lib.qioh_channel_unref(channel)
    assert lib.qioh_channel_get_kind(channel, error) == lib.QIOH_E_BADHANDLE
    assert b'channel' in ffi.string(error.message)
    for name, value in HEADER.constants.items():
        assert getattr(lib, name) == value


# ---- compilers and wrapper generators ----

@pytest.mark.needs('gcc', 'g++')
@pytest.mark.parametrize('compiler, standard', [
    ('gcc', 'c99'), ('gcc', 'c11'), ('gcc', 'c2x'), ('g++', 'c++11'), ('g++', 'c++20')])
def test_compilers_take_it_without_a_word(compiler, standard, tmp_path):
    suffix = 'cc' if compiler == 'g++' else 'c'
    source = tmp_path / f'use.{suffix}'
    source.write_text('#include <qio/qioh.h>\nint main(void) { return qioh_abi_version() != 0; }\n')
    run(compiler, f'-std={standard}', '-pedantic', '-Wall', '-Wextra', '-Werror', *INCLUDES,
        source, '-L', LIBRARY.parent, '-lqio', '-o', tmp_path / 'use')


@pytest.mark.needs('swig')
@pytest.mark.parametrize('language', ['python', 'lua'])
def test_swig_takes_the_shared_file(language, tmp_path):
    (tmp_path / 'm.i').write_text('%module m\n%{\n#include <qio/qioh.h>\n%}\n%include "qioh.i"\n')
    run('swig', f'-{language}', '-Wall', '-Werror', '-I' + str(ROOT / 'bindings'),
        '-I' + str(ROOT / 'core/abi'), '-outdir', tmp_path, '-o', tmp_path / 'm.c',
        tmp_path / 'm.i')
    wrapped = (tmp_path / 'm.c').read_text()
    for function in HEADER.functions:
        assert function.name in wrapped


# ---- the lint ----

GOOD = '/* ---- things [any thread] ---- */\n' + '''
typedef struct qioh_thing qioh_thing;
typedef struct qioh_error { uint32_t struct_size; } qioh_error;
typedef void (*qioh_release_fn)(void *user_data);
typedef int32_t (*qioh_thing_fn)(qioh_thing *thing, void *user_data, qioh_error *error);
enum { QIOH_A = 1 };
/* makes one */
qioh_thing *qioh_thing_new(qioh_error *error);
/* gives it up */
void qioh_thing_unref(qioh_thing *thing);
'''

PLANTED = {
    'preprocessor line': '#define QIOH_B 2\n',
    'body': 'static inline int32_t qioh_thing_id(void) { return 1; }\n',
    'attribute': 'int32_t qioh_thing_id(void) __attribute__((pure));\n',
    'bool': 'bool qioh_thing_is(qioh_thing *thing);\n',
    'long': 'long qioh_thing_size(qioh_thing *thing);\n',
    'off_t': 'int32_t qioh_thing_seek(qioh_thing *thing, off_t offset);\n',
    'varargs': 'int32_t qioh_thing_print(qioh_thing *thing, const char *fmt, ...);\n',
    'bit-field': 'typedef struct qioh_x { uint32_t struct_size; uint32_t a : 3; } qioh_x;\n',
    'struct without a size': 'typedef struct qioh_x { uint32_t a; } qioh_x;\n',
    'struct by value': 'int32_t qioh_thing_set(qioh_thing *thing, qioh_error values);\n',
    'handle by value': 'int32_t qioh_thing_set(qioh_thing thing);\n',
    'named enum': 'enum qioh_e { QIOH_E1 = 1 };\n',
    'shifted value': 'enum { QIOH_B = 1 << 3 };\n',
    'value left out': 'enum { QIOH_B };\n',
    'token as void *': 'int32_t qioh_thing_id(void *handle);\n',
    'owned under no verb': 'qioh_thing *qioh_thing_make(qioh_error *error);\n',
    'owned without an error': 'qioh_thing *qioh_thing_open(int32_t fd);\n',
    'unref that fails': 'int32_t qioh_thing_unref(qioh_thing *thing);\n',
    'error in the middle': 'int32_t qioh_thing_go(qioh_error *error, int32_t a);\n',
    'callback without release': 'int32_t qioh_thing_on(qioh_thing *thing, qioh_thing_fn fn, '
                                'void *user_data, qioh_error *error);\n',
    'callback that hides a failure': 'typedef void (*qioh_y_fn)(void *user_data, '
                                     'qioh_error *error);\n',
    'no name': 'int32_t qioh_thing_id(qioh_thing *);\n',
    'two of one name': 'int32_t qioh_thing_id(int32_t a, int32_t a);\n',
    'twice': 'qioh_thing *qioh_thing_new(qioh_error *error);\n',
    'foreign name': 'int32_t thing_id(void);\n',
    'long line': 'int32_t qioh_thing_id(int32_t ' + 'a' * 90 + ');\n',
    '// comment': '// no\nint32_t qioh_thing_id(void);\n',
    'seven arguments': 'typedef int32_t (*qioh_y_fn)(int32_t a, int32_t b, int32_t c, int32_t d, '
                       'int32_t e,\n void *user_data, qioh_error *error);\n',
    'member without an error': 'typedef struct qioh_x { uint32_t struct_size;\n'
                               'int32_t (*go)(void *user_data, int32_t a); } qioh_x;\n',
    'member of another shape': 'typedef struct qioh_x { uint32_t struct_size;\n'
                               'int32_t (go)(void *user_data, qioh_error *error); } qioh_x;\n',
    'no thread class': '/* ---- other ---- */\n/* says what */\nint32_t qioh_thing_id(void);\n',
    'no comment': 'int32_t qioh_thing_id(void);\n',
}


def problems_of(text, tmp_path):
    path = tmp_path / 'h.h'
    path.write_text(text)
    try:
        return abi.lint(abi.parse(path), text)
    except abi.HeaderError as error:
        return [str(error)]


def test_lint_takes_a_good_header(tmp_path):
    assert problems_of(GOOD, tmp_path) == []


@pytest.mark.parametrize('fault', PLANTED)
def test_lint_finds(fault, tmp_path):
    comment = '' if fault == 'no comment' else '/* says what */\n'
    assert problems_of(GOOD + comment + PLANTED[fault], tmp_path)


def test_public_headers_are_documented(tmp_path):
    assert abi.undocumented(abi.public_headers().values()) == set()
    path = tmp_path / 'h.h'
    path.write_text('/** qio_a, qio_b:\n * together\n */\nint qio_a(void);\nint qio_b(void);\n'
                    '/* qio_c: no */\nint qio_c(void);\n/** qio_d: yes. */\n'
                    'extern int qio_d;\nint qio_e(int qio_d);\n')
    assert abi.undocumented([path]) == {'qio_c', 'qio_e'}


def test_parsed_header_is_json_and_whole():
    parsed = json.loads(run('/usr/bin/python3', ROOT / 'tools/abi.py', '--json'))
    names = {function['name'] for function in parsed['functions']}
    declared = set(re.findall(r'\b(qioh_[a-z_0-9]+)\(', re.sub(r'/\*.*?\*/', '', TEXT,
                                                               flags=re.S)))
    assert names == declared
    assert CONST.QIOH_E_TLS_TRUNCATED == -21
