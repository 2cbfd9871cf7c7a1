# SPDX-License-Identifier: LGPL-2.1-or-later
"""NBD and QMP peers: qemu-nbd, qemu-storage-daemon and nbdkit as servers, nbdinfo, nbdcopy and
qemu-img as clients, all with TLS; and qemu-storage-daemon's character devices both ways.

Owns: their options for the credentials of pki.py.  Servers inherit a socket that listens.  The
export of a server is called EXPORT.
"""

import os
import urllib.parse

from pki import PSK_USER, certtool

from . import Peer, activated, run
from .tls import HOST, KINDS

EXPORT = 'disk'


def qemu_folder(kind, server, pki):
    """A folder with what QEMU wants to find.  A server without dh-params.pem would make some by
    itself, which takes seconds; these are of RFC 7919."""
    folder = pki.root / f'qemu-{kind}-{"server" if server else "client"}'
    if folder.exists():
        return folder
    folder.mkdir()
    if server:
        certtool('--get-dh-params', '--sec-param=medium', f'--outfile={folder}/dh-params.pem')
    if kind == 'psk':
        os.link(pki.psk_file, folder / 'keys.psk')
    if kind.startswith('x509'):
        names = ['ca-cert.pem'] + ['server-cert.pem', 'server-key.pem'] * server + \
            ['client-cert.pem', 'client-key.pem'] * (kind == 'x509-client' and not server)
        for name in names:
            os.link(pki.dir / name, folder / name)
    return folder


def qemu_keys(kind, server, pki, version):
    """The --object option of QEMU's programs; its id is "tls"."""
    keys = [f'tls-creds-{kind.removesuffix("-client")},id=tls',
            f'endpoint={"server" if server else "client"}',
            f'dir={qemu_folder(kind, server, pki)}',
            f'priority=NORMAL:-VERS-ALL:+VERS-TLS{version}']
    if kind == 'psk' and not server:
        keys.append(f'username={PSK_USER}')
    if kind in ('anon', 'x509') and server:
        keys.append('verify-peer=no')
    return ['--object', ','.join(keys)]


# ---- servers of a unix socket ----

def qemu_nbd(listener, image, kind, pki, version):
    return activated(['qemu-nbd', '-t', '-f', 'raw', '-r', '-x', EXPORT,
                      *qemu_keys(kind, True, pki, version), '--tls-creds', 'tls', image], listener)


def storage_daemon(listener, image, kind, pki, version):
    fd = listener.fileno()
    return Peer(['qemu-storage-daemon', *qemu_keys(kind, True, pki, version),
                 '--blockdev', f'driver=file,node-name=file,filename={image},read-only=on',
                 '--blockdev', 'driver=raw,node-name=raw,file=file,read-only=on',
                 '--nbd-server', f'addr.type=fd,addr.str={fd},tls-creds=tls',
                 '--export', f'type=nbd,id=e,node-name=raw,name={EXPORT}'], listener=listener)


def nbdkit(listener, image, kind, pki, version):
    """It has no option for the version (the client's decides)."""
    keys = ([f'--tls-psk={pki.psk_file}'] if kind == 'psk' else
            [f'--tls-certificates={pki.dir}', *['--tls-verify-peer'] * (kind == 'x509-client')])
    return activated(['nbdkit', '-f', '-r', '--exit-with-parent', '--tls=require', *keys, 'file',
                      image], listener)


SERVERS = {'qemu-nbd': qemu_nbd, 'qemu-storage-daemon': storage_daemon, 'nbdkit': nbdkit}


def server_cells():
    """nbdkit has no anonymous TLS: --tls=require wants certificates or a key file."""
    return [(server, kind) for server in SERVERS for kind in KINDS
            if (server, kind) != ('nbdkit', 'anon')]


# ---- clients: give what they read of an export of a unix socket, as text or as a file ----

def nbd_uri(path, kind, pki):
    query = {'socket': path}
    if kind == 'psk':
        query['tls-psk-file'] = pki.psk_file
    else:
        query['tls-certificates'] = pki.dir if kind == 'x509-client' else pki.ca_dir
    user = f'{PSK_USER}@' if kind == 'psk' else ''
    host = '' if kind == 'psk' else HOST
    query = urllib.parse.urlencode({key: str(value) for key, value in query.items()}, safe='/')
    return f'nbds+unix://{user}{host}/{EXPORT}?{query}'


def nbdinfo(path, kind, pki):
    return run('nbdinfo', nbd_uri(path, kind, pki))


def nbdcopy(path, kind, pki, target):
    return run('nbdcopy', nbd_uri(path, kind, pki), target)


def qemu_img(path, kind, pki, version, *, verb='info', target=None):
    keys = f'driver=nbd,server.type=unix,server.path={path},export={EXPORT},tls-creds=tls'
    if kind.startswith('x509'):
        keys += f',tls-hostname={HOST}'
    if verb == 'info':
        return run('qemu-img', 'info', *qemu_keys(kind, False, pki, version), '--image-opts', keys)
    return run('qemu-img', 'convert', *qemu_keys(kind, False, pki, version), '--image-opts', keys,
               '-O', 'raw', target)


# ---- QMP, TLS from the first byte ----

class QmpServer(Peer):
    """qemu-storage-daemon's monitor at an inherited socket, which is made non-blocking.

    When a client is there before the daemon, its main thread and its monitor's thread both see
    it (QEMU 7.2).  On a blocking socket the one that comes second would stand in accept(2) for
    ever, with the handshake of the first client: about one run in fifty, with any client.
    """

    def __init__(self, listener, kind, pki, version):
        listener.setblocking(False)
        fd = listener.fileno()
        super().__init__(['qemu-storage-daemon', *qemu_keys(kind, True, pki, version),
                          '--chardev', f'socket,id=c,fd={fd},server=on,wait=off,tls-creds=tls',
                          '--monitor', 'chardev=c'], listener=listener)


class QmpClient(Peer):
    """qemu-storage-daemon's monitor, which connects to a TLS server by itself."""

    def __init__(self, port, kind, pki, version):
        super().__init__(['qemu-storage-daemon', *qemu_keys(kind, False, pki, version),
                          '--chardev', f'socket,id=c,host={HOST},port={port},ipv6=off,server=off,'
                          'tls-creds=tls', '--monitor', 'chardev=c'])
