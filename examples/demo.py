# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job on real input: qemu-storage-daemon as the peer, Python, Lua and LuaJIT at work.

    ./demo              sets up, builds, and runs this
    ./run python3 examples/demo.py

Each step prints what it did, what it verified and how long it took.  Whatever does not match
ends the demo with status 1.  Files and sockets are in a temporary folder; it and every process
are gone at the end, also after a failure, Ctrl-C or SIGTERM.
"""

import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

import qio
import fdpass
import serve200
import wss_page
from demo_keys import PROGRAM as CERTTOOL, Keys
from demo_qmp import PROGRAM as STORAGE_DAEMON, StorageDaemon, known_data
from qmp import CommandError

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1024 * 1024
FOLDER_MAX = 36                 # bytes: the path of a unix socket has at most 107, also Chromium's
TIMEOUT = 30                    # seconds for a program that the demo starts

# What the steps run, and the Debian package that has it.
PROGRAMS = {STORAGE_DAEMON: 'qemu-system-common', 'lua5.4': 'lua5.4', 'luajit': 'luajit',
            CERTTOOL: 'gnutls-bin', wss_page.BROWSER: 'chromium'}


class Mismatch(Exception):
    """Something is not as it should be."""


def fact(text):
    print(f'     {text}', flush=True)


def verify(condition, text):
    """Notes what holds; what does not ends the demo."""
    if not condition:
        raise Mismatch(f'not so: {text}')
    fact(f'verified: {text}')


def run_program(*argv, status=0):
    """Runs an example as a command channel, shows its lines as facts, and gives them."""
    lines = []
    deadline = qio.Deadline(TIMEOUT)
    with qio.command(argv, stderr='merge', close_timeout=2) as program:
        program.send_eof()
        while line := program.readline(timeout=deadline):
            lines.append(line.decode(errors='replace').rstrip())
            fact(lines[-1])
        program.wait_exit(timeout=deadline)
    if program.returncode != status:
        raise Mismatch(f'{" ".join(argv[:2])} ended with status {program.returncode}')
    return lines


class Demo:
    """What the steps hand on to each other."""

    def __init__(self, folder):
        self.folder = folder
        self.images = {'disk': os.path.join(folder, 'disk.img'),
                       'small': os.path.join(folder, 'small.img')}
        self.digest = None
        self.daemon = None
        self.keys = None
        self.secured = None

    def close(self):
        for daemon in (self.daemon, self.secured):
            if daemon:
                daemon.close()

    # ---- the steps, in order ----

    def start_storage_daemon(self):
        """Python: start qemu-storage-daemon, drive it over QMP, export disks over NBD"""
        data = known_data(8 * MIB)
        self.digest = hashlib.sha256(data).hexdigest()
        for name, content in (('disk', data), ('small', data[:MIB])):
            with qio.open_file(self.images[name], 'w') as file:
                file.write_all(content)
        fact(f'disk image of {len(data)} bytes, SHA-256 {self.digest[:16]}...')

        self.daemon = StorageDaemon(self.folder)
        qmp = self.daemon.qmp
        version = qmp.greeting['version']['qemu']
        fact('started {} {major}.{minor}.{micro} as process {}, QMP negotiated'.format(
            STORAGE_DAEMON, self.daemon.command.pid, **version))
        self._read_schema(qmp)
        for name, path in self.images.items():
            self.daemon.add_disk(name, path)
        nodes = {node['node-name']: node for node in qmp.execute('query-named-block-nodes')}
        verify(nodes['disk']['image']['virtual-size'] == len(data),
               f'block node "disk" has the {len(data)} bytes of the image')
        self.daemon.start_nbd()
        for name in self.images:
            self.daemon.export(name, name, f'{os.path.basename(self.images[name])} of the demo')
        exports = {export['node-name'] for export in qmp.execute('query-block-exports')}
        verify(exports == set(self.images), 'both nodes are exported over NBD on a unix socket')

    @staticmethod
    def _read_schema(qmp):
        before = qmp.received
        schema = qmp.execute('query-qmp-schema')
        size = qmp.received - before
        verify(size > 100_000, f'the schema came whole: {len(schema)} entries in a line of '
                               f'{size} bytes')
        commands = {entry['name'] for entry in schema if entry['meta-type'] == 'command'}
        verify({'blockdev-add', 'nbd-server-start', 'block-export-add', 'quit'} <= commands,
               f'the commands used here are among the {len(commands)} of the schema')
        try:
            qmp.execute('no-such-command')
            raise Mismatch('a command that does not exist was accepted')
        except CommandError as error:
            verify(error.error_class == 'CommandNotFound', f'a wrong command is refused: {error}')

    def read_over_nbd(self):
        """Lua 5.4: read the first MiB over NBD, two connections in parallel, each a task"""
        lines = run_program('lua5.4', os.path.join(HERE, 'nbd.lua'), self.daemon.nbd_uri, 'disk',
                            self.images['disk'])
        order = lines[-1].split()[-32:]
        verify(order.count('1') == order.count('2') == MIB // 65536,
               'both connections read all of the first MiB, equal to the file')

    def list_exports(self):
        """LuaJIT: list the exports over the flat ABI, events fetched from the queue"""
        lines = run_program('luajit', os.path.join(HERE, 'ffi', 'exports.lua'),
                            self.daemon.nbd_uri)
        expected = [f'export "{name}": {name}.img of the demo' for name in sorted(self.images)]
        verify(lines[:-1] == expected, 'these are the two exports and their descriptions')

    def pass_descriptor(self):
        """Python: pass an open file to a second process over a unix channel"""
        answer, (size, digest) = fdpass.pass_file(self.images['disk'])
        fact(f'process {answer["pid"]} got the descriptor of a file without a name')
        verify(digest == self.digest, 'the image still holds the known data')
        verify((answer['bytes'], answer['sha256']) == (size, digest),
               f'it read the same {size} bytes, SHA-256 {answer["sha256"][:16]}...')

    def serve_clients(self):
        """Python: one loop serves 200 clients at once, driven by watches"""
        start = time.monotonic()
        server, report = serve200.serve()
        fact(f'{server.lines} lines, {server.bytes} bytes echoed in '
             f'{(time.monotonic() - start) * 1000:.0f} ms')
        verify(server.served == server.most_open == serve200.CLIENTS,
               f'{server.most_open} clients were connected at once, all were served')
        expected = {'clients': serve200.CLIENTS, 'lines': server.lines, 'bytes': server.bytes,
                    'wrong': 0}
        verify(report == expected and server.lines == serve200.CLIENTS * serve200.LINES,
               'the clients got every line back as they had sent it')

    def stop_storage_daemon(self):
        """Python: end the daemon over QMP"""
        verify(self.daemon.quit() == 0, 'qemu-storage-daemon ended with status 0')
        gone = [event['data']['id'] for event in self.daemon.qmp.events
                if event['event'] == 'BLOCK_EXPORT_DELETED']
        verify(sorted(gone) == ['export-disk', 'export-small'],
               'an event told of the end of each export')
        try:
            qio.connect(self.daemon.nbd_uri, timeout=TIMEOUT).close()
            raise Mismatch('somebody still answers at the NBD socket')
        except ConnectionRefusedError as error:
            fact(f'verified: nobody answers at the NBD socket any more: {error.strerror}')

    def start_secured_daemon(self):
        """Python: a daemon that speaks TLS alone, QMP with certificates that both ends show"""
        self.keys = Keys(self.folder)
        place = os.path.join(self.folder, 'tls')
        os.mkdir(place)
        self.secured = StorageDaemon(place, self.keys)
        tls = self.secured.qmp.channel.tls
        fact(f'process {self.secured.command.pid}, QMP negotiated over {tls.version}, {tls.cipher}')
        verify(tls.peer_name == 'CN=localhost', f'the daemon has shown the certificate of '
                                                f'{tls.peer_name}, of the authority of this run')
        self.secured.qmp.close()
        self._refuse_strangers()
        self.secured.connect()
        self._read_schema(self.secured.qmp)
        self.secured.add_disk('disk', self.images['disk'])
        self.secured.start_nbd()
        self.secured.export('disk', 'disk', 'over TLS')

    def _refuse_strangers(self):
        nobody = qio.TLSCreds.x509(ca=self.keys.file('ca-cert.pem'))
        try:
            with qio.connect(self.secured.qmp_uri, timeout=TIMEOUT, tls=nobody,
                             tls_hostname='localhost') as channel:
                channel.readline(timeout=TIMEOUT)
            raise Mismatch('a client without a certificate was let in')
        except (qio.TLSError, ConnectionResetError) as error:
            verify(True, f'a client without a certificate is turned away: {error}')
        try:
            qio.connect(self.secured.qmp_uri, timeout=TIMEOUT, tls=nobody,
                        tls_hostname='elsewhere.example').close()
            raise Mismatch('a certificate of another host was taken')
        except qio.CertificateError as error:
            verify(True, f'and we turn away a server of another name: {error}')

    def read_over_nbd_with_tls(self):
        """Lua 5.4: read the first MiB over NBD, upgraded to TLS with a shared key"""
        argv = ['lua5.4', os.path.join(HERE, 'nbd.lua'), self.secured.nbd_uri, 'disk',
                self.images['disk']]
        refused = run_program(*argv, status=1)
        verify('refuses' in refused[-1], 'without TLS the server gives nothing away')
        lines = run_program(*argv, self.keys.psk_file, self.keys.user)
        verify('all of it over TLS' in lines[-2] and len(lines[-1].split()[-32:]) == 32,
               'with the key both connections read all of it, equal to the file')
        verify(self.secured.quit() == 0, 'that daemon ended with status 0')

    def talk_to_a_page(self):
        """Python: a page in Chromium talks to a wss: listener, no web server in between"""
        data = known_data(MIB // 4)
        hello, back, end, facts = wss_page.talk(self.folder, self.keys, data)
        fact('{uri} took {agent}'.format(agent=hello['agent'].split()[-2], **facts))
        fact('asked for {path} over {tls}, {cipher}, subprotocol "{protocol}"'.format(**facts))
        verify(hashlib.sha256(back).digest() == hashlib.sha256(data).digest(),
               f'the page sent the {len(back)} bytes of one message back as they were')
        verify(end == (1000, 'thank you'),
               f'it closed with code {end[0]} and the words it had been told: "{end[1]}"')


STEPS = [Demo.start_storage_daemon, Demo.read_over_nbd, Demo.list_exports, Demo.pass_descriptor,
         Demo.serve_clients, Demo.stop_storage_daemon, Demo.start_secured_daemon,
         Demo.read_over_nbd_with_tls, Demo.talk_to_a_page]


def check_surroundings():
    missing = [f'{name} (Debian package {package})' for name, package in PROGRAMS.items()
               if shutil.which(name) is None]
    if missing:
        sys.exit(f'demo: not installed: {", ".join(missing)}')
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > FOLDER_MAX:
        sys.exit(f'demo: {folder} is too long a name for a folder of unix sockets: set TMPDIR to '
                 f'one of at most {FOLDER_MAX} bytes')


def run_steps(demo, times):
    for number, step in enumerate(STEPS, 1):
        print(f'\n  {number}. {step.__doc__}', flush=True)
        start = time.monotonic()
        try:
            step(demo)
        except Exception as error:
            if not isinstance(error, Mismatch):
                traceback.print_exc()
            sys.exit(f'demo: FAILED in step {number} ({step.__doc__}): {error}')
        times.append(time.monotonic() - start)
        fact(f'took {times[-1] * 1000:.0f} ms')


def print_summary(times):
    print('\n  summary')
    for step, seconds in zip(STEPS, times):
        print(f'     {step.__doc__:<80} {seconds * 1000:6.0f} ms')
    print(f'     {"all steps verified":<80} {sum(times) * 1000:6.0f} ms')


def on_sigterm(signum, frame):
    sys.exit(128 + signum)      # as an exception, so that everything is cleaned up


def main():
    check_surroundings()
    signal.signal(signal.SIGTERM, on_sigterm)
    times = []
    try:
        with tempfile.TemporaryDirectory(prefix='qio-demo-') as folder:
            demo = Demo(folder)
            try:
                run_steps(demo, times)
            finally:
                demo.close()
    except KeyboardInterrupt:
        print('demo: interrupted', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    print_summary(times)


if __name__ == '__main__':
    main()
