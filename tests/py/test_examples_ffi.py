# SPDX-License-Identifier: LGPL-2.1-or-later
"""The conversation of examples/ffi/README.md: one server here, the client in each language."""

import pytest

import qio
from fficlients import EXAMPLES, LANGUAGES, make_ready, run, serve
from pki import PSK_USER
from rigs import in_thread


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


def test_shows_its_usage(language):
    done = run(LANGUAGES[language].command)
    assert done.returncode == 2
    assert done.stdout == ''
    assert done.stderr.startswith('usage: ')
