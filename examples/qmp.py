# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QMP client on one channel.

    with QMP.connect('unix:/run/vm.sock') as qmp:
        print(qmp.greeting['version'], qmp.execute('query-status'))
    QMP.connect('tls+tcp://host:4444', tls=qio.TLSCreds.x509(dir='/etc/pki/qemu'))

QMP is the JSON protocol that QEMU, qemu-storage-daemon and the guest's agent are driven with.
Each message is one line.  The server greets, the client negotiates (qmp_capabilities), then
each command gets a reply with the command's id; events may come between any two lines.

Rules: one thread at a time.  Every call ends within its deadline, and the connection goes on
after a time-out: a reply that came too late for its command is told by its id and dropped, a
message that was sent in part is completed first.
What the server sends is bounded (a line, the events nobody has fetched) and never trusted.
"""

import collections
import json

import qio

LINE_LIMIT = 16 * 1024 * 1024   # the longest line taken; a whole schema is about 110 KB
EVENT_LIMIT = 10_000            # events that wait to be fetched
TIMEOUT = 30                    # seconds for a connection or a command, unless told otherwise


class QMPError(Exception):
    """What can go wrong with a server beyond qio.Error (time-outs, connections lost)."""


class CommandError(QMPError):
    """The server refused a command: .error_class (such as 'CommandNotFound') and .desc."""

    def __init__(self, command, error_class, desc):
        super().__init__(f'{command}: {desc} ({error_class})')
        self.command = command
        self.error_class = error_class
        self.desc = desc


class ProtocolError(QMPError):
    """What came is no QMP, or not what has to come now; the connection is of no more use."""


def _shown(line):
    """A peer's bytes, short and in printable characters."""
    text = ascii(line[:60])[2:-1]
    return f'"{text}"' + ('...' if len(line) > 60 else '')


class QMP:
    """A negotiated connection.  .greeting: what the server said first; .events: a deque of
    events, the oldest first, for the caller to take from; .received: bytes so far."""

    def __init__(self, channel, *, timeout=TIMEOUT, line_limit=LINE_LIMIT):
        """Negotiates on a connected channel, which it owns from then on (also on failure)."""
        self.channel = channel
        self.events = collections.deque()
        self.received = 0
        self._timeout = timeout
        self._line_limit = line_limit
        self._last_id = 0
        self._cut_off = b''
        try:
            deadline = qio.Deadline(timeout)
            self.greeting = self._receive(deadline).get('QMP')
            if not isinstance(self.greeting, dict):
                raise ProtocolError('the server does not greet as a QMP server does')
            self.execute('qmp_capabilities', timeout=deadline)
        except BaseException:
            channel.close()
            raise

    @classmethod
    def connect(cls, uri, *, timeout=TIMEOUT, line_limit=LINE_LIMIT, **keys):
        """Connects to a URI, such as unix:/path or tcp://host:port, and negotiates.

        Other keys are those of qio.connect(): tls, tls_hostname ...
        """
        return cls(qio.connect(uri, timeout=timeout, **keys), timeout=timeout,
                   line_limit=line_limit)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        self.channel.close()

    def execute(self, command, arguments=None, *, fds=(), timeout=None):
        """Runs a command and gives what it returns.

        arguments: a dict; fds: open descriptors or files that go along (for getfd, add-fd);
        timeout: seconds or a qio.Deadline.  Raises CommandError when the server refuses,
        qio.TimeoutError when the reply does not come in time.
        """
        deadline = self._deadline(timeout)
        self._last_id += 1
        message = {'execute': command, 'id': self._last_id}
        if arguments:
            message['arguments'] = arguments
        self._send(message, fds, deadline)
        while True:
            reply = self._receive(deadline)
            if 'event' in reply:
                self._keep_event(reply)
            elif self._is_reply_to(reply, self._last_id):
                return self._result(command, reply)

    def wait_event(self, name, *, timeout=None):
        """Takes the oldest event of that name, waiting until there is one."""
        deadline = self._deadline(timeout)
        while True:
            for event in self.events:
                if event['event'] == name:
                    self.events.remove(event)
                    return event
            message = self._receive(deadline)
            if 'event' in message:
                self._keep_event(message)
            else:
                self._is_reply_to(message, None)

    def _deadline(self, timeout):
        if isinstance(timeout, qio.Deadline):
            return timeout
        return qio.Deadline(self._timeout if timeout is None else timeout)

    def _send(self, message, fds, deadline):
        """What a time-out cut off goes out first, so that the server sees whole messages."""
        if self._cut_off:
            self._write(self._cut_off, (), deadline)
        self._write(json.dumps(message).encode('ascii') + b'\n', fds, deadline)
        if self.channel.tls:
            # QEMU takes a byte each time its socket is readable, and never looks for what its TLS
            # has decrypted already.  A record of its own, of the white space that JSON allows,
            # keeps the socket readable until QEMU has all of the message before.
            self._write(b'\n', (), deadline)

    def _write(self, data, fds, deadline):
        try:
            if fds:
                self.channel.send_fds(data, fds, timeout=deadline)
            else:
                self.channel.write_all(data, timeout=deadline)
        except qio.TimeoutError as error:
            if error.bytes_written or self._cut_off:
                self._cut_off = data[error.bytes_written:]
            raise
        self._cut_off = b''

    def _receive(self, deadline):
        """The next message, a dict.  A time-out in the middle of a line loses nothing."""
        try:
            line = self.channel.read_until(b'\n', limit=self._line_limit, timeout=deadline)
        except qio.LimitError:
            raise ProtocolError(f'the server sent a line of more than {self._line_limit} bytes'
                                ) from None
        if not line.endswith(b'\n'):
            where = f'in the middle of a line: {_shown(line)}' if line else 'between two lines'
            raise ProtocolError(f'the server closed the connection {where}')
        self.received += len(line)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f'not JSON: {_shown(line)}: {error}') from None
        if not isinstance(message, dict):
            raise ProtocolError(f'not a JSON object: {_shown(line)}')
        return message

    def _keep_event(self, event):
        if len(self.events) >= EVENT_LIMIT:
            raise ProtocolError(f'{EVENT_LIMIT} events wait that nobody has fetched')
        self.events.append(event)

    def _is_reply_to(self, message, wanted):
        """False for the reply to a command that was given up; anything else is an error."""
        number = message.get('id')
        if type(number) is int and 0 < number <= self._last_id:     # True is an int and equals 1
            return number == wanted
        raise ProtocolError(f'neither an event nor a reply: {_shown(json.dumps(message).encode())}')

    @staticmethod
    def _result(command, reply):
        if 'return' in reply:
            return reply['return']
        error = reply.get('error')
        if not isinstance(error, dict):
            raise ProtocolError(f'the reply to {command} has neither "return" nor "error"')
        raise CommandError(command, str(error.get('class')), str(error.get('desc')))
