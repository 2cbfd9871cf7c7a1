# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that use the flat ABI from other languages: how each is compiled and run, and the
server that the clients of examples/ffi talk to.
"""

import codecs
import functools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import qio
from rigs import PATIENCE

ROOT = pathlib.Path(__file__).parents[2]
HEADER = ROOT / 'core' / 'abi' / 'qioh-abi.h'
EXAMPLES = ROOT / 'examples' / 'ffi'
TESTS = ROOT / 'tests' / 'ffi'
BUILD = ROOT / os.environ.get('QIO_BUILD', 'build')
PYTHON = sys.executable


# ---- the server ----

def serve(listener, language):
    """One client, to its end; the side of the conversation that README.md gives to the server."""
    with listener.accept(timeout=PATIENCE) as channel:
        channel.settimeout(PATIENCE)
        assert channel.readline() == f'hello from {language}\n'.encode()
        channel.write_all(b'HELLO FROM ')           # in two parts: one event is not one line
        channel.write_all(language.upper().encode() + b'\n')
        if not isinstance(channel, qio.TLSChannel):
            answer_file(channel)
        answer_in_rot13(channel, language)
        assert channel.read() == b'', 'what else comes'


def answer_file(channel):
    data, [fd] = channel.recv_fds(5)
    assert data == b'file\n'
    with fd.open('r', encoding='ascii') as file:
        channel.write_all(file.readline().upper().encode())


def answer_in_rot13(channel, language):
    """What a channel that the client wrote itself makes of its words."""
    line = codecs.encode(channel.readline().decode('ascii'), 'rot13')
    assert line == f'a secret of {language}\n'
    channel.write_all(codecs.encode(line.upper(), 'rot13').encode())


# ---- the programs ----

PLACE = BUILD / 'ffi'           # what is compiled, and node_modules
CLASSES = f'{PLACE / "java"}:/usr/share/java/jna.jar'
ENV = {
    **os.environ,
    'NODE_PATH': str(PLACE / 'node' / 'node_modules'),
    'CGO_LDFLAGS': f'-L{BUILD / "core"}',
    'GOCACHE': str(PLACE / 'go' / 'cache'),
    'GOFLAGS': '-mod=readonly',         # and no proxy: nothing is fetched
    'GOPATH': str(PLACE / 'go' / 'path'),
    'GOPROXY': 'off',
}


class Program:
    """How a program is run, a command that shows whether the machine can, and how it is compiled.
    The programs are the distribution's, whatever else is on PATH."""

    def __init__(self, command, probe, source=None, compiler=()):
        self.command, self.probe, self.source, self.compiler = command, probe, source, compiler


LANGUAGES = {
    'cffi': Program([PYTHON, '-X', 'dev', EXAMPLES / 'cffi' / 'talk.py'],
                     [PYTHON, '-c', 'import cffi']),
    'ctypes': Program([PYTHON, '-X', 'dev', EXAMPLES / 'ctypes' / 'talk.py'], ['true']),
    'go': Program([PLACE / 'go' / 'talk'], ['/usr/bin/go', 'version'],
                  EXAMPLES / 'go' / 'talk.go',
                   ['/usr/bin/go', 'build', '-o', PLACE / 'go' / 'talk', '.']),
    'guile': Program(['/usr/bin/guile', '--no-auto-compile', EXAMPLES / 'guile' / 'talk.scm'],
                      ['/usr/bin/guile', '--version']),
    'java': Program(['/usr/bin/java', '-cp', CLASSES, 'Talk'],
                     ['/usr/bin/javap', '-cp', CLASSES, 'com.sun.jna.Native'],
                     EXAMPLES / 'java' / 'Talk.java',
                     ['/usr/bin/javac', '-Xlint:all', '-Werror', '-cp', CLASSES, '-sourcepath', '.',
                      '-d', PLACE / 'java', 'Talk.java']),
    'luajit': Program(['luajit', EXAMPLES / 'luajit' / 'talk.lua'], ['luajit', '-v']),
    'node': Program(['/usr/bin/node', EXAMPLES / 'node' / 'talk.js'],
                     ['/usr/bin/node', '-e', 'require("koffi")']),
    'ocaml': Program([PLACE / 'ocaml' / 'talk'],
                      ['/usr/bin/ocamlfind', 'query', 'ctypes.foreign'],
                      EXAMPLES / 'ocaml' / 'talk.ml',
                      ['/usr/bin/ocamlfind', 'ocamlopt', '-thread', '-package',
                       'ctypes.foreign,unix', '-linkpkg', '-w', '+a-4-9-40-44-45-70', '-warn-error',
                       '+a', '-o', PLACE / 'ocaml' / 'talk', 'talk.ml']),
    'perl': Program(['/usr/bin/perl', EXAMPLES / 'perl' / 'talk.pl'],
                     ['/usr/bin/perl', '-MFFI::Platypus', '-e0']),
    'php': Program(['/usr/bin/php', EXAMPLES / 'php' / 'talk.php'],
                    ['/usr/bin/php', '-r', 'exit(extension_loaded("FFI") ? 0 : 1);']),
    'ruby': Program(['/usr/bin/ruby', '-w', EXAMPLES / 'ruby' / 'talk.rb'],
                     ['/usr/bin/ruby', '-rffi', '-e0']),
    'rust': Program([PLACE / 'rust' / 'talk'], ['/usr/bin/rustc', '--version'],
                    EXAMPLES / 'rust' / 'talk.rs',
                     ['/usr/bin/rustc', '--edition', '2021', '-D', 'warnings', '-L',
                      BUILD / 'core', '-o', PLACE / 'rust' / 'talk', 'talk.rs']),
}


THREADS = {             # the programs of tests/ffi
    'go': Program([PLACE / 'go' / 'threads'], ['/usr/bin/go', 'version'],
                  TESTS / 'go' / 'threads.go',
                  ['/usr/bin/go', 'build', '-o', PLACE / 'go' / 'threads', '.']),
    'java': Program(['/usr/bin/java', '-cp', CLASSES, 'Threads'], LANGUAGES['java'].probe,
                    TESTS / 'java' / 'Threads.java',
                    [*LANGUAGES['java'].compiler[:-1], 'Threads.java']),
    'node': Program(['/usr/bin/node', TESTS / 'node' / 'threads.js'], LANGUAGES['node'].probe),
}


def run(program, *arguments, **keys):
    command = [str(word) for word in [*program, *arguments]]
    return subprocess.run(command, text=True, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False, env=ENV, **keys)


@functools.cache
def lacks(probe):
    """What the machine lacks, in words; empty when the probe runs."""
    try:
        done = run(probe)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr.strip() or 'something' if done.returncode else ''


@functools.cache
def compile_program(program):
    """Into the build folder, when what is there is older than its sources or the header."""
    source, folder = program.source, PLACE / program.source.parent.name
    made = folder / f'{source.name}.made'
    needs = [HEADER, *source.parent.iterdir()]
    if made.exists() and made.stat().st_mtime > max(path.stat().st_mtime for path in needs):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if source.suffix == '.ml':          # whose compiler leaves files beside the source
        source = pathlib.Path(shutil.copy(source, folder))
    done = run(program.compiler, cwd=source.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    made.touch()


def make_ready(program):
    """Compiles it if need be; skips the test where the machine cannot run it."""
    if missing := lacks(tuple(program.probe)):
        pytest.skip(f'not installed: {missing}')
    if program.source is not None:
        compile_program(program)
    return program
