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

class Language:
    """How a client is run, and a command that shows whether the machine can; the programs are the
    distribution's, whatever else is on PATH."""

    def __init__(self, command, probe):
        self.command = [str(word) for word in command]
        self.probe = probe


LANGUAGES = {
    'ctypes': Language([PYTHON, '-X', 'dev', FFI / 'ctypes' / 'talk.py'], ['true']),
    'cffi': Language([PYTHON, '-X', 'dev', FFI / 'cffi' / 'talk.py'],
                     [PYTHON, '-c', 'import cffi']),
    'luajit': Language(['luajit', FFI / 'luajit' / 'talk.lua'], ['luajit', '-v']),
    'node': Language(['/usr/bin/node', FFI / 'node' / 'talk.js'],
                     ['/usr/bin/node', '-e', 'require("koffi")']),
    'perl': Language(['/usr/bin/perl', FFI / 'perl' / 'talk.pl'],
                     ['/usr/bin/perl', '-MFFI::Platypus', '-e0']),
    'php': Language(['/usr/bin/php', FFI / 'php' / 'talk.php'],
                    ['/usr/bin/php', '-r', 'exit(extension_loaded("FFI") ? 0 : 1);']),
    'ruby': Language(['/usr/bin/ruby', '-w', FFI / 'ruby' / 'talk.rb'],
                     ['/usr/bin/ruby', '-rffi', '-e0']),
}
ENV = {**os.environ, 'NODE_PATH': str(BUILD / 'ffi' / 'node' / 'node_modules')}


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


@pytest.fixture(params=LANGUAGES)
def language(request):
    if missing := lacks(request.param):
        pytest.skip(f'not installed: what {request.param} needs: {missing}')
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
