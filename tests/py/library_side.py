# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library's end of a conversation with a real program: credentials of each kind, an echo server,
a WebSocket server that does what peers/ws_peer.py does, NBD as client and server with STARTTLS.

Owns: threads that serve; each is joined at the end, and what went wrong in it is raised there.
"""

import contextlib
import struct
import threading

import qio
from peers import PATIENCE
from pki import PSK_KEY, PSK_USER


def creds(kind, version, server, pki):
    """Of a kind of peers.tls.KINDS."""
    priority = f'NORMAL:-VERS-ALL:+VERS-TLS{version}'
    if kind == 'anon':
        return qio.TLSCreds.anon(server=server, priority=priority)
    if kind == 'psk' and server:
        return qio.TLSCreds.psk(file=pki.psk_file, server=True, priority=priority)
    if kind == 'psk':
        return qio.TLSCreds.psk(user=PSK_USER, key=PSK_KEY, priority=priority)
    if kind == 'x509-client':
        return qio.TLSCreds.x509(dir=pki.dir, server=server, priority=priority)
    if server:
        return qio.TLSCreds.x509(cert=pki.server_cert, key=pki.server_key, server=True,
                                 verify=False, priority=priority)
    return qio.TLSCreds.x509(ca=pki.ca, priority=priority)


class Serving:
    """Serves so many clients of a listener, one after the other, in a thread."""

    def __init__(self, listener, serve, clients=1):
        self.listener, self.serve, self.clients = listener, serve, clients
        self.results = []
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            for _ in range(self.clients):
                with self.listener.accept(timeout=PATIENCE) as client:
                    client.settimeout(PATIENCE)
                    self.results.append(self.serve(client))
        except Exception as error:
            self.failure = error

    def wait(self):
        """Until all of them have been served, while the other end still runs."""
        self.thread.join(PATIENCE)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, exc_type, *exc_info):
        self.wait()
        self.listener.close()
        if self.failure and exc_type is None:
            raise self.failure
        assert exc_type or not self.thread.is_alive(), 'the server has not ended'


def echo_lines(channel):
    """Until the other side has ended, in order."""
    while line := channel.readline():
        channel.write_all(line)


# ---- WebSocket: what peers/ws_peer.py says of a server ----

def serve_messages(ws):
    """Gives the code and the reason that the client closed with; its own close is not told."""
    try:
        while True:
            message = ws.recv()
            if not isinstance(message, str) or not message.startswith('!'):
                ws.send(message)
                continue
            verb, *words = message[1:].split(' ')
            if verb == 'close':
                ws.close(int(words[0]), ' '.join(words[1:]))
                return None
            if verb == 'ping':
                ws.ping(words[0])
                ws.send(f'pong {words[0]}')
            else:
                ws.send(''.join(words))
    except qio.WebSocketError as error:
        return error.close_code, error.reason


# ---- NBD: fixed newstyle, STARTTLS first, simple replies ----

MAGIC, OPTION_MAGIC, REPLY_MAGIC = b'NBDMAGIC', b'IHAVEOPT', 0x3e889045565a9
REQUEST, SIMPLE_REPLY = 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_STARTTLS, OPT_INFO, OPT_GO = 1, 2, 5, 6, 7
REP_ACK, REP_INFO, REP_UNSUP, REP_TLS_REQUIRED = 1, 3, 0x80000001, 0x80000005
CMD_READ, CMD_DISCONNECT = 0, 2
FLAGS = 1 | 2                   # has flags, read-only


def ask(channel, option, data=b''):
    channel.write_all(OPTION_MAGIC + struct.pack('>II', option, len(data)) + data)


def answer(channel):
    """(kind, data) of one reply."""
    magic, _, kind, size = struct.unpack('>QIII', channel.read_exactly(20))
    assert magic == REPLY_MAGIC
    return kind, channel.read_exactly(size) if size else b''


class NbdClient:
    """Upgrades a channel to an NBD server in place, and opens an export."""

    def __init__(self, channel, export, creds, hostname=None):
        channel.settimeout(PATIENCE)
        assert channel.read_exactly(16) == MAGIC + OPTION_MAGIC
        channel.read_exactly(2)
        channel.write_all(struct.pack('>I', 3))
        ask(channel, OPT_STARTTLS)
        assert answer(channel) == (REP_ACK, b'')
        self.channel = channel.start_tls(creds, hostname=hostname)
        name = export.encode()
        ask(self.channel, OPT_GO, struct.pack('>I', len(name)) + name + bytes(2))
        while (reply := answer(self.channel))[0] == REP_INFO:
            if reply[1][:2] == bytes(2):
                self.size = struct.unpack('>Q', reply[1][2:10])[0]
        assert reply[0] == REP_ACK, reply

    def read(self, offset, size):
        self.channel.write_all(struct.pack('>IHHQQI', REQUEST, 0, CMD_READ, 1, offset, size))
        head = struct.unpack('>IIQ', self.channel.read_exactly(16))
        assert head == (SIMPLE_REPLY, 0, 1)
        return self.channel.read_exactly(size)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(qio.Error):
            self.channel.write_all(struct.pack('>IHHQQI', REQUEST, 0, CMD_DISCONNECT, 0, 0, 0))
        self.channel.close()


class NbdServer:
    """serve(channel) of Serving: one client of an export of these bytes, which must take TLS."""

    def __init__(self, data, creds):
        self.data, self.creds = data, creds

    def __call__(self, channel):
        channel.write_all(MAGIC + OPTION_MAGIC + struct.pack('>H', 3))
        channel.read_exactly(4)
        tls = None
        while True:
            option, size = self._option(tls or channel)
            data = (tls or channel).read_exactly(size) if size else b''
            if option == OPT_ABORT:
                with contextlib.suppress(qio.Error):        # it may be gone already
                    self._reply(tls or channel, option, REP_ACK)
                return None
            if option == OPT_STARTTLS and not tls:
                self._reply(channel, option, REP_ACK)
                tls = channel.start_tls(self.creds, server=True)
            elif not tls:
                self._reply(channel, option, REP_TLS_REQUIRED)
            elif option in (OPT_GO, OPT_INFO):
                self._reply(tls, option, REP_INFO, struct.pack('>HQH', 0, len(self.data), FLAGS))
                self._reply(tls, option, REP_ACK)
                if option == OPT_GO:
                    return self._transmit(tls)
            else:
                self._reply(tls, option, REP_UNSUP)

    @staticmethod
    def _option(channel):
        magic, option, size = struct.unpack('>8sII', channel.read_exactly(16))
        assert magic == OPTION_MAGIC and size < 65536
        return option, size

    @staticmethod
    def _reply(channel, option, kind, data=b''):
        channel.write_all(struct.pack('>QIII', REPLY_MAGIC, option, kind, len(data)) + data)

    def _transmit(self, channel):
        """Gives what was known of the connection."""
        info = channel.tls.version, channel.tls.peer_name
        while head := channel.read_exactly(28, eof_ok=True):
            magic, _, command, handle, offset, size = struct.unpack('>IHHQQI', head)
            assert magic == REQUEST
            if command == CMD_DISCONNECT:
                break
            good = command == CMD_READ and offset + size <= len(self.data)
            channel.write_all(struct.pack('>IIQ', SIMPLE_REPLY, 0 if good else 22, handle) +
                              (self.data[offset:offset + size] if good else b''))
        channel.close()
        return info
