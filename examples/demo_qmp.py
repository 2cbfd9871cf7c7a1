# SPDX-License-Identifier: LGPL-2.1-or-later
"""qemu-storage-daemon as a command channel, driven through its QMP socket.

Owns: the child process, its two sockets in a folder of the caller, the QMP connection.  With keys
(demo_keys.py) everything is TLS: QMP with certificates that both ends show, NBD with a shared key.
"""

import json
import os
import random
import re
import urllib.parse

import qio
from qmp import QMP, ProtocolError

PROGRAM = 'qemu-storage-daemon'
TIMEOUT = 20                    # seconds for anything the daemon is asked to do


def unix_uri(path):
    return 'unix:' + urllib.parse.quote(path)


def known_data(size, seed=20):
    """The same bytes each time, without a pattern that a wrong offset could hide in."""
    return random.Random(seed).randbytes(size)


class StorageDaemon:
    """Runs until quit() or the end of the with block, whichever comes first."""

    def __init__(self, folder, keys=None):
        self.keys = keys
        self.qmp_uri = unix_uri(os.path.join(folder, 'qmp.sock'))
        self.nbd_path = os.path.join(folder, 'nbd.sock')
        self.nbd_uri = unix_uri(self.nbd_path)
        self.command = qio.command(self._argv(os.path.join(folder, 'qmp.sock'), keys),
                                   close_timeout=5)
        try:
            # It does what its arguments say in their order, the monitor on its standard
            # output last: when that greets, the socket listens.  No need to try and try again.
            if not self.command.readline(timeout=TIMEOUT):
                raise RuntimeError(f'{PROGRAM} ended: {self._status()}')
            if keys:
                self.qmp_uri = f'tls+tcp://127.0.0.1:{self._port()}'
            self.connect()
        except BaseException:
            self.command.terminate()
            self.command.close()
            raise

    def connect(self):
        """Once more after qmp.close(): it has one client at a time."""
        tls = {}
        if self.keys:
            tls = {'tls': qio.TLSCreds.x509(dir=self.keys.x509), 'tls_hostname': 'localhost'}
        self.qmp = QMP.connect(self.qmp_uri, timeout=TIMEOUT, **tls)

    def _port(self):
        """Which the system chose; the other monitor, our end of which is the command, knows it."""
        for name in ('qmp_capabilities', 'query-chardev'):
            self.command.write_all(json.dumps({'execute': name}).encode() + b'\n')
            reply = json.loads(self.command.readline(timeout=TIMEOUT))
        names = {device['label']: device['filename'] for device in reply['return']}
        return int(re.search(r':(\d+),server', names['qmp']).group(1))

    @staticmethod
    def _argv(socket_path, keys):
        def quoted(path):
            return path.replace(',', ',,')          # as QEMU's options want it

        tls, where = [], f'path={quoted(socket_path)}'
        if keys:
            server = 'endpoint=server,dir='
            tls = ['--object', f'tls-creds-x509,id=certificates,{server}{quoted(keys.x509)}',
                   '--object', f'tls-creds-psk,id=key,{server}{quoted(keys.psk)}']
            where = 'host=127.0.0.1,port=0,tls-creds=certificates'   # it has no TLS on unix sockets
        return [PROGRAM, *tls,
                '--chardev', f'socket,id=qmp,{where},server=on,wait=off',
                '--monitor', 'chardev=qmp',
                '--chardev', 'stdio,id=ready',
                '--monitor', 'chardev=ready']

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        """Ends it, whatever state it is in; the end of its input alone would not."""
        self.qmp.close()
        self.command.terminate()                    # fine if it has ended already
        self.command.close()

    def _status(self):
        self.command.wait_exit(timeout=TIMEOUT)
        return f'exit status {self.command.returncode}'

    def add_disk(self, node, path):
        """Makes a read-only block node over a raw file: one node for the file, one for raw."""
        self.qmp.execute('blockdev-add', {
            'driver': 'file', 'node-name': node + '-file', 'filename': path, 'read-only': True})
        self.qmp.execute('blockdev-add', {
            'driver': 'raw', 'node-name': node, 'file': node + '-file', 'read-only': True})

    def start_nbd(self):
        arguments = {'addr': {'type': 'unix', 'data': {'path': self.nbd_path}}}
        if self.keys:
            arguments['tls-creds'] = 'key'
        self.qmp.execute('nbd-server-start', arguments)

    def export(self, node, name, description):
        self.qmp.execute('block-export-add', {
            'type': 'nbd', 'id': 'export-' + name, 'node-name': node, 'name': name,
            'description': description})

    def quit(self):
        """Asks it to end and gives its exit status."""
        try:
            self.qmp.execute('quit')
        except (qio.Error, ProtocolError):
            # Over TLS it may be gone before it has read what is behind the command: a reset, in
            # which its answer is lost.
            if not self.keys:
                raise
        self.command.wait_exit(timeout=TIMEOUT)
        return self.command.returncode
