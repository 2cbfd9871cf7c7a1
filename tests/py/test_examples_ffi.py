# SPDX-License-Identifier: LGPL-2.1-or-later
"""The conversation of examples/ffi/README.md: one server here, the client in each language."""

import functools
import os
import pathlib
import subprocess
import sys

import pytest

import qio
from pki import PSK_USER
from rigs import PATIENCE, in_thread

ROOT = pathlib.Path(__file__).parents[2]
FFI = ROOT / 'examples' / 'ffi'
HEADER = ROOT / 'core' / 'abi' / 'qioh-abi.h'
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
        assert channel.read() == b'', 'what else comes'


def answer_file(channel):
    data, [fd] = channel.recv_fds(5)
    assert data == b'file\n'
    with fd.open('r', encoding='ascii') as file:
        channel.write_all(file.readline().upper().encode())


# ---- the clients ----

PLACE = BUILD / 'ffi'           # what is compiled, and node_modules
CLASSES = f'{PLACE / "java"}:/usr/share/java/jna.jar'
ENV = {
    **os.environ,
    'NODE_PATH': str(PLACE / 'node' / 'node_modules'),
    'CGO_LDFLAGS': f'-L{BUILD / "core"}',
    'GOCACHE': str(PLACE / 'go' / 'cache'),
    'GOFLAGS': '-mod=readonly',         # and no proxy: nothing is fetched
    'GOPROXY': 'off',
}


class Language:
    """How a client is run, a command that shows whether the machine can, and how it is compiled.
    The programs are the distribution's, whatever else is on PATH."""

    def __init__(self, command, probe, source=None, compiler=()):
        self.command, self.probe, self.source, self.compiler = command, probe, source, compiler


LANGUAGES = {
    'cffi': Language([PYTHON, '-X', 'dev', FFI / 'cffi' / 'talk.py'],
                     [PYTHON, '-c', 'import cffi']),
    'ctypes': Language([PYTHON, '-X', 'dev', FFI / 'ctypes' / 'talk.py'], ['true']),
    'go': Language([PLACE / 'go' / 'talk'], ['/usr/bin/go', 'version'], 'talk.go',
                   ['/usr/bin/go', 'build', '-o', PLACE / 'go' / 'talk', '.']),
    'guile': Language(['/usr/bin/guile', '--no-auto-compile', FFI / 'guile' / 'talk.scm'],
                      ['/usr/bin/guile', '--version']),
    'java': Language(['/usr/bin/java', '-cp', CLASSES, 'Talk'],
                     ['/usr/bin/javap', '-cp', CLASSES, 'com.sun.jna.Native'], 'Talk.java',
                     ['/usr/bin/javac', '-Xlint:all', '-Werror', '-cp', CLASSES, '-d',
                      PLACE / 'java', 'Talk.java']),
    'luajit': Language(['luajit', FFI / 'luajit' / 'talk.lua'], ['luajit', '-v']),
    'node': Language(['/usr/bin/node', FFI / 'node' / 'talk.js'],
                     ['/usr/bin/node', '-e', 'require("koffi")']),
    'ocaml': Language([PLACE / 'ocaml' / 'talk'],
                      ['/usr/bin/ocamlfind', 'query', 'ctypes.foreign'], 'talk.ml',
                      ['/usr/bin/ocamlfind', 'ocamlopt', '-thread', '-package',
                       'ctypes.foreign,unix', '-linkpkg', '-w', '+a-4-9-40-44-45-70', '-warn-error',
                       '+a', '-o', PLACE / 'ocaml' / 'talk', 'talk.ml']),
    'perl': Language(['/usr/bin/perl', FFI / 'perl' / 'talk.pl'],
                     ['/usr/bin/perl', '-MFFI::Platypus', '-e0']),
    'php': Language(['/usr/bin/php', FFI / 'php' / 'talk.php'],
                    ['/usr/bin/php', '-r', 'exit(extension_loaded("FFI") ? 0 : 1);']),
    'ruby': Language(['/usr/bin/ruby', '-w', FFI / 'ruby' / 'talk.rb'],
                     ['/usr/bin/ruby', '-rffi', '-e0']),
    'rust': Language([PLACE / 'rust' / 'talk'], ['/usr/bin/rustc', '--version'], 'talk.rs',
                     ['/usr/bin/rustc', '--edition', '2021', '-D', 'warnings', '-L',
                      BUILD / 'core', '-o', PLACE / 'rust' / 'talk', 'talk.rs']),
}


def run_program(command, **keys):
    return subprocess.run([str(word) for word in command], text=True, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60, check=False, env=ENV, **keys)


@functools.cache
def lacks(name):
    """What the machine lacks for a language, in words; empty when it is all there."""
    try:
        done = run_program(LANGUAGES[name].probe)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ''


@functools.cache
def compile_client(name):
    """Compiles what is older than its source or the header."""
    language = LANGUAGES[name]
    if language.source is None:
        return
    source, made = FFI / name / language.source, PLACE / name / f'{language.source}.made'
    if made.exists() and made.stat().st_mtime > max(source.stat().st_mtime,
                                                    HEADER.stat().st_mtime):
        return
    made.parent.mkdir(parents=True, exist_ok=True)
    done = run_program(language.compiler, cwd=source.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    made.touch()


@pytest.fixture(params=LANGUAGES)
def language(request):
    if missing := lacks(request.param):
        pytest.skip(f'not installed: what {request.param} needs: {missing}')
    compile_client(request.param)
    return request.param


def run(language, *arguments):
    return run_program([*LANGUAGES[language].command, *arguments])


def talk(language, listener, *arguments):
    """What the client printed, with nothing on its standard error."""
    with listener, in_thread(serve, listener, language):
        done = run(language, listener.address, *arguments)
        listener.close()                            # one that failed did not connect, perhaps
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ''
    return done.stdout.splitlines()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('the first line\nanother\n', encoding='ascii')
    return path


def test_talks_over_a_unix_socket_and_passes_a_file(language, tmp_path, file):
    lines = talk(language, qio.listen(f'unix:{tmp_path}/s'), file)
    assert lines == [f'event: HELLO FROM {language.upper()}', 'file: THE FIRST LINE',
                     'stale: QIOH_E_BADHANDLE', 'left: 0']


def test_talks_over_tls_with_a_shared_key(language, pki, file):
    creds = qio.TLSCreds.psk(file=pki.psk_file, server=True)
    lines = talk(language, qio.listen('tls+tcp://127.0.0.1:0', tls=creds), file, pki.psk_file,
                 PSK_USER)
    assert lines == [f'event: HELLO FROM {language.upper()}', 'stale: QIOH_E_BADHANDLE', 'left: 0']


def test_says_what_went_wrong(language, tmp_path, file):
    done = run(language, f'unix:{tmp_path}/nobody', file)
    assert done.returncode == 1
    assert done.stdout == ''
    assert 'QIOH_E_SYSTEM: ' in done.stderr
    assert f'{tmp_path}/nobody' in done.stderr
    assert 'No such file or directory' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_shows_its_usage(language):
    done = run(language)
    assert done.returncode == 2
    assert done.stdout == ''
    assert done.stderr.startswith('usage: ')
