# SPDX-License-Identifier: LGPL-2.1-or-later
"""qemu-storage-daemon as a command channel, driven through its QMP socket.

Owns: the child process, its two sockets in a folder of the caller, the QMP connection.
"""

import os
import random
import urllib.parse

import qio
from qmp import QMP

PROGRAM = 'qemu-storage-daemon'
TIMEOUT = 20                    # seconds for anything the daemon is asked to do


def unix_uri(path):
    return 'unix:' + urllib.parse.quote(path)


def known_data(size, seed=20):
    """The same bytes each time, without a pattern that a wrong offset could hide in."""
    return random.Random(seed).randbytes(size)


class StorageDaemon:
    """Runs until quit() or the end of the with block, whichever comes first."""

    def __init__(self, folder):
        self.qmp_uri = unix_uri(os.path.join(folder, 'qmp.sock'))
        self.nbd_path = os.path.join(folder, 'nbd.sock')
        self.nbd_uri = unix_uri(self.nbd_path)
        self.command = qio.command(self._argv(os.path.join(folder, 'qmp.sock')), close_timeout=5)
        try:
            # It does what its arguments say in their order, the monitor on its standard
            # output last: when that greets, the socket listens.  No need to try and try again.
            if not self.command.readline(timeout=TIMEOUT):
                raise RuntimeError(f'{PROGRAM} ended: {self._status()}')
            self.qmp = QMP.connect(self.qmp_uri, timeout=TIMEOUT)
        except BaseException:
            self.command.terminate()
            self.command.close()
            raise

    @staticmethod
    def _argv(socket_path):
        path = socket_path.replace(',', ',,')       # as QEMU's options want it
        return [PROGRAM,
                '--chardev', f'socket,id=qmp,path={path},server=on,wait=off',
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
        self.qmp.execute('nbd-server-start',
                         {'addr': {'type': 'unix', 'data': {'path': self.nbd_path}}})

    def export(self, node, name, description):
        self.qmp.execute('block-export-add', {
            'type': 'nbd', 'id': 'export-' + name, 'node-name': node, 'name': name,
            'description': description})

    def quit(self):
        """Asks it to end and gives its exit status."""
        self.qmp.execute('quit')
        self.command.wait_exit(timeout=TIMEOUT)
        return self.command.returncode
