# SPDX-License-Identifier: LGPL-2.1-or-later
"""An RFC 6455 peer for tests: both roles, over any stream of streams.py.

Owns: its own handshake, framing, masking and close, written from the RFC; it shares no code with
the library.  It can send what a good peer would not: send_frame() takes every bit by itself.
recv_frame() is strict about what it receives.
"""

import base64
import hashlib
import os
import struct
import threading

GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HEAD_MAX = 16384


def accept_for(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def masked(data, mask):
    """Also takes a mask off."""
    n = len(data)
    pattern = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(data, 'big') ^ int.from_bytes(pattern, 'big')).to_bytes(n, 'big')


def encode_frame(opcode, payload=b'', *, fin=True, mask=None, rsv=0, size_bytes=None):
    """size_bytes: 0, 2 or 8, where the shortest form is not wanted."""
    size = len(payload)
    if size_bytes is None:
        size_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size, 2: 126, 8: 127}[size_bytes]
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short])
    head += {0: b'', 2: struct.pack('!H', size & 65535), 8: struct.pack('!Q', size)}[size_bytes]
    if mask is None:
        return head + payload
    return head + mask + masked(payload, mask)


class WsError(Exception):
    """The library broke a rule, or ended without a word."""


class WsStream:
    """As a stream: binary frames.  sent_close, got_close: (code, reason) of the close frames."""

    def __init__(self, lower, *, server=False, host='localhost', path='/', protocols=(),
                 headers=(), frame_size=16384):
        self.lower = lower
        self.server = server
        self.host, self.path = host, path
        self.protocols, self.headers = protocols, headers
        self.frame_size = frame_size
        self.raw = b''              # received and not yet decoded
        self.data = b''             # decoded and not yet given out
        self.sent_close = self.got_close = None
        self.request = None         # what the other side's head said: (first line, {name: value})
        self.protocol = None
        self.sending = threading.Lock()     # a pong goes between frames

    # ---- the opening handshake ----

    def handshake(self):
        if self.server:
            self.answer(self.read_request())
        else:
            self.connect()

    def read_head(self):
        while b'\r\n\r\n' not in self.raw:
            if len(self.raw) > HEAD_MAX:
                raise WsError('the head is too long')
            self._more()
        head, self.raw = self.raw.split(b'\r\n\r\n', 1)
        first, *lines = head.decode('ascii').split('\r\n')
        headers = {}
        for line in lines:
            name, colon, value = line.partition(':')
            if not colon or name != name.strip() or name.lower() in headers:
                raise WsError(f'bad header line {line!r}')
            headers[name.lower()] = value.strip()
        self.request = first, headers
        return first, headers

    def send_head(self, first, headers):
        lines = [first, *(f'{name}: {value}' for name, value in headers)]
        self.lower.sendall('\r\n'.join(lines).encode() + b'\r\n\r\n')

    def read_request(self):
        first, headers = self.read_head()
        method, self.path, version = first.split(' ')
        if (method, version) != ('GET', 'HTTP/1.1') or 'host' not in headers:
            raise WsError(f'bad request {first!r}')
        self._expect(headers, 'upgrade', 'websocket')
        self._expect(headers, 'connection', 'upgrade')
        self._expect(headers, 'sec-websocket-version', '13')
        if len(base64.b64decode(headers['sec-websocket-key'], validate=True)) != 16:
            raise WsError('the key has not 16 bytes')
        return headers

    def answer(self, headers):
        answer = [('Upgrade', 'websocket'), ('Connection', 'Upgrade'),
                  ('Sec-WebSocket-Accept', accept_for(headers['sec-websocket-key']))]
        offered = [word.strip() for word in headers.get('sec-websocket-protocol', '').split(',')]
        self.protocol = next((word for word in self.protocols if word in offered), None)
        if self.protocol:
            answer.append(('Sec-WebSocket-Protocol', self.protocol))
        self.send_head('HTTP/1.1 101 Switching Protocols', answer + list(self.headers))

    def send_request(self):
        self.key = base64.b64encode(os.urandom(16)).decode()
        headers = [('Host', self.host), ('Upgrade', 'websocket'), ('Connection', 'Upgrade'),
                   ('Sec-WebSocket-Key', self.key), ('Sec-WebSocket-Version', '13')]
        if self.protocols:
            headers.append(('Sec-WebSocket-Protocol', ', '.join(self.protocols)))
        self.send_head(f'GET {self.path} HTTP/1.1', headers + list(self.headers))

    def connect(self):
        self.send_request()
        first, headers = self.read_head()
        if not first.startswith('HTTP/1.1 101 '):
            raise WsError(f'refused: {first}')
        self._expect(headers, 'upgrade', 'websocket')
        self._expect(headers, 'connection', 'upgrade')
        if headers.get('sec-websocket-accept') != accept_for(self.key):
            raise WsError('wrong Sec-WebSocket-Accept')
        if 'sec-websocket-extensions' in headers:
            raise WsError('an extension that nobody asked for')
        self.protocol = headers.get('sec-websocket-protocol')
        if self.protocol is not None and self.protocol not in self.protocols:
            raise WsError(f'a protocol that nobody asked for: {self.protocol!r}')

    @staticmethod
    def _expect(headers, name, word):
        if word not in [part.strip().lower() for part in headers.get(name, '').split(',')]:
            raise WsError(f'no {word!r} in the header {name!r}: {headers.get(name)!r}')

    # ---- frames ----

    def _more(self):
        data = self.lower.recv(65536)
        if not data:
            raise WsError('the stream ended inside of a frame or a head')
        self.raw += data

    def _take(self, n):
        while len(self.raw) < n:
            self._more()
        data, self.raw = self.raw[:n], self.raw[n:]
        return data

    def send_frame(self, opcode, payload=b'', *, fin=True, mask=..., rsv=0, size_bytes=None):
        """mask: four bytes, None for none, left out what the role asks for."""
        if mask is ...:
            mask = None if self.server else os.urandom(4)
        frame = encode_frame(opcode, payload, fin=fin, mask=mask, rsv=rsv, size_bytes=size_bytes)
        with self.sending:
            self.lower.sendall(frame)

    def recv_frame(self):
        """(opcode, payload, fin) of the next frame, whatever it is."""
        first, second = self._take(2)
        if first & 0x70:
            raise WsError(f'reserved bits are set: {first:#x}')
        if bool(second & 0x80) != self.server:
            raise WsError('a client masks, a server does not')
        opcode, fin, size = first & 15, bool(first & 0x80), second & 127
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise WsError(f'unknown opcode {opcode}')
        if opcode >= CLOSE and (size > 125 or not fin):
            raise WsError('a control frame is long or a fragment')
        if size >= 126:
            least = 126 if size == 126 else 65536
            size = int.from_bytes(self._take(2 if size == 126 else 8), 'big')
            if size < least:
                raise WsError('a length that is not in its shortest form')
        mask = self._take(4) if self.server else None
        payload = self._take(size)
        return opcode, masked(payload, mask) if mask else payload, fin

    # ---- messages ----

    def send(self, message):
        if isinstance(message, str):
            self.send_frame(TEXT, message.encode())
        else:
            self.send_frame(BINARY, message)

    def recv_message(self):
        """The next message, str or bytes; None when the other side closed.  Answers pings."""
        kind, parts = None, []
        while True:
            opcode, payload, fin = self.recv_frame()
            if opcode >= CLOSE:
                if self._control(opcode, payload):
                    return None
                continue
            if (opcode == CONTINUATION) != bool(kind):
                raise WsError('fragments out of order')
            kind = kind or opcode
            parts.append(payload)
            if fin:
                data = b''.join(parts)
                return data.decode() if kind == TEXT else data

    def _control(self, opcode, payload):
        """Whether it was the end."""
        if opcode == PING:
            self.send_frame(PONG, payload)
        if opcode != CLOSE:
            return False
        if len(payload) == 1:
            raise WsError('a close frame of one byte')
        code = int.from_bytes(payload[:2], 'big') if payload else 1005
        self.got_close = code, payload[2:].decode()
        if not self.sent_close:
            self.sent_close = self.got_close
            self.send_frame(CLOSE, payload)
        return True

    def send_close(self, code=1000, reason=''):
        self.sent_close = code, reason
        self.send_frame(CLOSE, struct.pack('!H', code) + reason.encode())

    # ---- as a stream ----

    def sendall(self, data):
        for i in range(0, len(data), self.frame_size):
            self.send_frame(BINARY, bytes(data[i:i + self.frame_size]))

    def recv(self, n):
        while not self.data:
            if self.got_close:
                return b''
            message = self.recv_message()
            if isinstance(message, str):
                raise WsError('text in a stream of bytes')
            self.data = message or b''
        data, self.data = self.data[:n], self.data[n:]
        return data

    def close_write(self):
        self.send_close()

    def close(self):
        self.lower.close()
