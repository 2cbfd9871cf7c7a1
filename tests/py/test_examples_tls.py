# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples that speak TLS: QMP with certificates, NBD with a shared key, a page over wss:."""

import pathlib
import subprocess
import sys

import pytest

import qio

EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'
sys.path.insert(0, str(EXAMPLES))

from demo_keys import Keys  # noqa: E402
from demo_qmp import StorageDaemon, known_data  # noqa: E402
from qmp import QMP, CommandError  # noqa: E402

pytestmark = pytest.mark.needs('qemu-storage-daemon', 'certtool', 'lua5.4')
MIB = 1024 * 1024


@pytest.fixture
def daemon(tmp_path):
    """All it says is TLS; with one exported disk."""
    path = tmp_path / 'disk.img'
    path.write_bytes(known_data(2 * MIB))
    with StorageDaemon(str(tmp_path), Keys(str(tmp_path))) as running:
        running.add_disk('disk', str(path))
        running.start_nbd()
        running.export('disk', 'disk', 'a disk')
        running.path = path
        yield running


def run_nbd(daemon, *keys):
    argv = ['lua5.4', EXAMPLES / 'nbd.lua', daemon.nbd_uri, 'disk', daemon.path, *keys]
    return subprocess.run([str(arg) for arg in argv], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=40, check=False)


def test_qmp_over_tls(daemon):
    tls = daemon.qmp.channel.tls
    assert (tls.version, tls.peer_name) == ('TLS1.3', 'CN=localhost')
    before = daemon.qmp.received
    assert len(daemon.qmp.execute('query-qmp-schema')) > 100
    assert daemon.qmp.received - before > 100_000
    with pytest.raises(CommandError, match='CommandNotFound'):
        daemon.qmp.execute('no-such-command')
    assert daemon.quit() == 0


def test_qmp_refuses_another_name(daemon):
    daemon.qmp.close()
    with pytest.raises(qio.CertificateError, match='elsewhere.example'):
        QMP.connect(daemon.qmp_uri, timeout=20, tls=qio.TLSCreds.x509(dir=daemon.keys.x509),
                    tls_hostname='elsewhere.example')
    daemon.connect()
    assert daemon.quit() == 0


def test_nbd_lua_over_tls(daemon):
    done = run_nbd(daemon, daemon.keys.psk_file, daemon.keys.user)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.endswith('16 reads of 65536 bytes equal the file') for line in lines[:2])
    assert lines[2].startswith('all of it over TLS1.3, ')
    assert lines[2].endswith("both ends have the key of 'demo'")


def test_nbd_lua_without_tls(daemon):
    done = run_nbd(daemon)
    assert done.returncode == 1
    assert 'the server refuses (error 5)' in done.stderr


def test_nbd_lua_with_another_key(daemon, tmp_path):
    (tmp_path / 'other.psk').write_text(f'demo:{"5a" * 32}\n')
    done = run_nbd(daemon, tmp_path / 'other.psk', 'demo')
    assert done.returncode == 1
    assert 'NBD: TLS with the server: ' in done.stderr
    assert len(done.stderr.splitlines()) == 1, 'no traceback'


def test_demo_keys_tells_what_certtool_says(tmp_path, monkeypatch):
    fake = tmp_path / 'certtool'
    fake.write_text('#!/bin/sh\necho I will not; exit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    with pytest.raises(RuntimeError, match='I will not'):
        Keys(str(tmp_path))


@pytest.mark.needs('chromium')
def test_wss_page():
    done = subprocess.run([sys.executable, '-X', 'dev', EXAMPLES / 'wss_page.py'], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, ''), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert 'HeadlessChrome' in lines[0] and lines[0].endswith('at /talk, TLS1.3, subprotocol demo')
    assert lines[1].startswith('262144 bytes came back')
    assert lines[1].endswith('the same; it closed with 1000 "thank you"')
