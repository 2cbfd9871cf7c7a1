# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs of peers/ with each other: when one of these fails, it is not the library's fault.

The library is in none of them.  test_peers_*.py put it at one end or in the middle.
"""

import pytest

from peers import listen_tcp, listen_unix, nbd, tls, websock
from peers.browser import NOVNC, Browser, Pages, VncServer

PAIRS = {'anon': ('gnutls', 'python'), 'x509': ('python', 'openssl'),
         'x509-client': ('openssl', 'gnutls'), 'psk': ('gnutls', 'openssl')}


@pytest.mark.needs('openssl', 'gnutls-serv', 'gnutls-cli')
@pytest.mark.parametrize('kind, version', tls.CELLS)
def test_tls(pki, kind, version):
    """Each server and each client once or more; what they say is symmetric, one turns it round."""
    server, client = PAIRS[kind]
    with tls.SERVERS[server](kind, version, pki) as serving, \
            tls.CLIENTS[client](kind, version, pki, serving.port) as asking:
        text = asking.exchange(b'abcdcba\n')
    assert f'TLSv{version}' in text or f'TLS{version}' in text


@pytest.mark.needs('node', 'nginx', 'haproxy')
@pytest.mark.parametrize('deflate', [False, True], ids=['plain', 'deflate'])
@pytest.mark.parametrize('server, proxy, client', [('websockets', 'nginx', 'node-ws'),
                                                   ('node-ws', 'haproxy', 'websockets')])
def test_websocket(tmp_path, server, proxy, client, deflate):
    paths = tmp_path / 'server', tmp_path / 'proxy'
    with websock.Server(server, listen_unix(paths[0])), \
            websock.PROXIES[proxy](tmp_path, paths[1], paths[0]):
        for step in ('fragmented', 'ping', 'close'):
            websock.client(client, step, f'unix:{paths[1]}', deflate=deflate)


@pytest.mark.needs('qemu-nbd', 'qemu-storage-daemon', 'nbdkit', 'nbdinfo', 'qemu-img')
@pytest.mark.parametrize('server, kind', [('qemu-nbd', 'x509'), ('qemu-storage-daemon', 'anon'),
                                          ('qemu-storage-daemon', 'x509-client'),
                                          ('nbdkit', 'psk')])
def test_nbd(pki, tmp_path, server, kind):
    image = tmp_path / 'image'
    image.write_bytes(bytes(range(256)) * 4096)
    with nbd.SERVERS[server](listen_unix(tmp_path / 's'), image, kind, pki, '1.2'):
        if kind != 'anon':              # libnbd refuses servers that prove nothing
            assert 'export-size: 1048576' in nbd.nbdinfo(tmp_path / 's', kind, pki)
        assert 'virtual size: 1 MiB' in nbd.qemu_img(tmp_path / 's', kind, pki, '1.2')


@pytest.mark.needs('chromium', 'qemu-system-x86_64', 'websockify')
def test_novnc(tmp_path):
    listener = listen_tcp()
    port = listener.getsockname()[1]
    (tmp_path / 'profile').mkdir()
    with VncServer(tmp_path / 'vnc'), websock.Websockify(listener, tmp_path / 'vnc'), \
            Pages(NOVNC) as pages, Browser(tmp_path / 'profile') as browser, \
            browser.page(f'{pages.origin}/vnc_lite.html?host=127.0.0.1&port={port}&path=') as page:
        assert page.wait_for_vnc() == ['Connected to QEMU', 640, 480]
