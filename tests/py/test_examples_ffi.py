# SPDX-License-Identifier: LGPL-2.1-or-later
"""The conversation of examples/ffi/README.md: one server here, the client in each language."""

import pytest

import qio
from fficlients import EXAMPLES, LANGUAGES, make_ready, run, serve
from pki import PSK_USER
from rigs import PATIENCE, in_thread


@pytest.fixture(params=LANGUAGES)
def language(request):
    make_ready(LANGUAGES[request.param])
    return request.param


def talk(language, listener, *arguments):
    """What the client printed, with nothing on its standard error."""
    with listener, in_thread(serve, listener, language):
        done = run(LANGUAGES[language].command, listener.address, *arguments)
        listener.close()                            # one that failed did not connect, perhaps
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ''
    return done.stdout.splitlines()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('the first line\nanother\n', encoding='ascii')
    return path


def test_every_language_is_here():
    assert {path.parent.name for path in EXAMPLES.glob('*/[Tt]alk.*')} == set(LANGUAGES)


def expected(language, *between):
    name = language.upper()
    return [f'event: HELLO FROM {name}', *between, f'rot13: A SECRET OF {name}',
            'refused: QIOH_E_CALLBACK: only ASCII is turned', 'released: 1',
            'stale: QIOH_E_BADHANDLE', 'left: 0']


def test_talks_over_a_unix_socket_and_passes_a_file(language, tmp_path, file):
    lines = talk(language, qio.listen(f'unix:{tmp_path}/s'), file)
    assert lines == expected(language, 'file: THE FIRST LINE')


def test_talks_over_tls_with_a_shared_key(language, pki, file):
    creds = qio.TLSCreds.psk(file=pki.psk_file, server=True)
    lines = talk(language, qio.listen('tls+tcp://127.0.0.1:0', tls=creds), file, pki.psk_file,
                 PSK_USER)
    assert lines == expected(language)


def test_says_what_went_wrong(language, tmp_path, file):
    done = run(LANGUAGES[language].command, f'unix:{tmp_path}/nobody', file)
    assert done.returncode == 1
    assert done.stdout == ''
    assert 'QIOH_E_SYSTEM: ' in done.stderr
    assert f'{tmp_path}/nobody' in done.stderr
    assert 'No such file or directory' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def hang_up(listener):
    with listener.accept(timeout=PATIENCE) as channel:
        channel.settimeout(PATIENCE)
        channel.readline()


def test_says_that_the_server_is_gone(language, tmp_path, file):
    with qio.listen(f'unix:{tmp_path}/s') as listener, in_thread(hang_up, listener):
        done = run(LANGUAGES[language].command, listener.address, file)
        listener.close()
    assert done.returncode == 1, done.stderr
    assert done.stdout == ''
    [line] = done.stderr.splitlines()
    assert line.endswith(': the server closed the connection')


def test_says_that_the_keys_differ(language, pki, file, tmp_path):
    keys = tmp_path / 'keys.psk'
    keys.write_text(f'{PSK_USER}:00112233445566778899aabbccddeeff\n', encoding='ascii')
    keys.chmod(0o600)
    creds = qio.TLSCreds.psk(file=pki.psk_file, server=True)
    with qio.listen('tls+tcp://127.0.0.1:0', tls=creds) as listener:
        with in_thread(refuse, listener):
            done = run(LANGUAGES[language].command, listener.address, file, keys, PSK_USER)
            listener.close()
    assert done.returncode == 1, done.stderr
    assert done.stdout == ''
    [line] = done.stderr.splitlines()
    assert ': QIOH_E_TLS: ' in line


def refuse(listener):
    with listener.accept(timeout=PATIENCE) as channel, pytest.raises(qio.TLSError):
        channel.settimeout(PATIENCE)
        channel.readline()


def test_shows_its_usage(language):
    done = run(LANGUAGES[language].command)
    assert done.returncode == 2
    assert done.stdout == ''
    assert done.stderr.startswith('usage: ')
