# SPDX-License-Identifier: LGPL-2.1-or-later
"""NBD and QMP over TLS with QEMU's programs, nbdkit and libnbd's tools.

NBD upgrades in place (STARTTLS): plain bytes first, then TLS on the same channel.  QEMU's monitor
talks TLS from the first byte, as server and as client.
"""

import json
import threading

import pytest

import qio
from library_side import NbdClient, NbdServer, Serving, creds
from peers import PATIENCE, accept, listen_unix, nbd, tls

pytestmark = pytest.mark.needs('qemu-nbd', 'qemu-storage-daemon', 'nbdkit', 'nbdinfo', 'nbdcopy',
                               'qemu-img')
DATA = bytes(i * 31 % 251 for i in range(1 << 20))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(DATA)
    return path


def hostname(kind):
    return tls.HOST if kind.startswith('x509') else None


def cells(pairs):
    return [(peer, kind, version) for peer, kind in pairs for version in tls.VERSIONS
            if (kind, version) in tls.CELLS]


@pytest.mark.parametrize('peer, kind, version', cells(nbd.server_cells()))
def test_nbd_client(pki, tmp_path, image, peer, kind, version):
    with nbd.SERVERS[peer](listen_unix(tmp_path / 's'), image, kind, pki, version):
        channel = qio.connect(f'unix:{tmp_path}/s', timeout=PATIENCE)
        with NbdClient(channel, nbd.EXPORT, creds(kind, version, False, pki),
                       hostname(kind)) as client:
            assert client.size == len(DATA)
            assert client.channel.tls.version == f'TLS{version}'
            for offset in range(0, len(DATA), 1 << 18):
                assert client.read(offset, 1 << 18) == DATA[offset:offset + (1 << 18)]


# libnbd has no anonymous TLS: it always wants to know the server.  Its tools and qemu-img of this
# version take TLS from 1.2 on, and so each version is tried with them by what the library allows.
CLIENTS = [('nbdcopy', kind) for kind in tls.KINDS if kind != 'anon'] + \
          [('qemu-img', kind) for kind in tls.KINDS]


@pytest.mark.parametrize('peer, kind, version', cells(CLIENTS))
def test_nbd_server(pki, tmp_path, peer, kind, version):
    listener = qio.listen(f'unix:{tmp_path}/s')
    server = NbdServer(DATA, creds(kind, version, True, pki))
    copy = tmp_path / 'copy'
    with listener, Clients(listener, server) as clients:
        if peer == 'nbdcopy':
            nbd.nbdcopy(tmp_path / 's', kind, pki, copy)
        else:
            nbd.qemu_img(tmp_path / 's', kind, pki, version, verb='convert', target=copy)
        clients.stop()
    assert copy.read_bytes() == DATA
    names = {'x509-client': 'CN=a client', 'psk': tls.PSK_USER}
    served = [result for result in clients.results if result]
    assert served and set(served) == {(f'TLS{version}', names.get(kind))}


class Clients:
    """Serves as many clients as come, each in a thread, until stop()."""

    def __init__(self, listener, serve):
        self.listener, self.serve = listener, serve
        self.results, self.failures, self.threads = [], [], []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        for client in self.listener.clients():
            thread = threading.Thread(target=self._run, args=[client], daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run(self, client):
        try:
            with client:
                client.settimeout(PATIENCE)
                self.results.append(self.serve(client))
        except Exception as error:
            self.failures.append(error)

    def stop(self):
        self.listener.close()
        for thread in [self.thread, *self.threads]:
            thread.join(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, exc_type, *exc_info):
        self.stop()
        if self.failures and exc_type is None:
            raise self.failures[0]


def nbdinfo_refused(*args):
    """Without TLS it is not let in; its words are in the message of the failure."""
    with pytest.raises(AssertionError, match='TLS'):
        nbd.run('nbdinfo', *args)


def test_nbd_server_demands_tls(pki, tmp_path):
    server = NbdServer(DATA, creds('psk', '1.3', True, pki))
    listener = qio.listen(f'unix:{tmp_path}/s')
    with listener, Clients(listener, server):
        nbdinfo_refused(f'nbd+unix:///{nbd.EXPORT}?socket={tmp_path}/s')


# ---- QMP ----

def execute(channel, command):
    """QEMU's monitor takes a byte each time its socket is readable, and forgets those that its TLS
    has already decrypted: a record of one byte behind the command keeps the socket readable until
    it has them all."""
    channel.write_all(json.dumps({'execute': command}).encode())
    channel.write_all(b'\n')
    return json.loads(channel.readline())


def converse(channel):
    """The greeting, the negotiation, two commands; gives the version."""
    assert json.loads(channel.readline())['QMP']['version']['qemu']['major'] > 0
    assert execute(channel, 'qmp_capabilities') == {'return': {}}
    assert len(execute(channel, 'query-qmp-schema')['return']) > 100
    return execute(channel, 'query-version')['return']


@pytest.mark.parametrize('kind, version', tls.CELLS)
def test_qmp_of_a_daemon_that_listens(pki, tmp_path, kind, version):
    with nbd.QmpServer(listen_unix(tmp_path / 's'), kind, pki, version):
        plain = qio.connect(f'unix:{tmp_path}/s', timeout=PATIENCE)
        plain.settimeout(PATIENCE)
        with plain.start_tls(creds(kind, version, False, pki), hostname=hostname(kind)) as channel:
            assert converse(channel)['qemu']['major'] > 0
            assert channel.tls.version == f'TLS{version}'


@pytest.mark.parametrize('kind, version', tls.CELLS)
def test_qmp_of_a_daemon_that_connects(pki, kind, version):
    def serve(client):
        with client.start_tls(creds(kind, version, True, pki), server=True) as channel:
            return converse(channel), channel.tls.version, channel.tls.peer_name

    listener = qio.listen('tcp://127.0.0.1:0')
    with Serving(listener, serve) as serving, \
            nbd.QmpClient(listener.port, kind, pki, version):
        serving.wait()
    names = {'x509-client': 'CN=a client', 'psk': tls.PSK_USER}
    assert serving.results[0][1:] == (f'TLS{version}', names.get(kind))
