# SPDX-License-Identifier: LGPL-2.1-or-later
"""One thread, one loop, 200 clients at once: an echo server driven by watches.

    serve200.py                              the server; it starts the clients itself
    serve200.py --clients URI COUNT LINES    the second process: COUNT connections at once

Every client sends LINES lines and compares what comes back.  The server counts for itself, and
both have to agree in the end.
"""

import json
import os
import sys
import tempfile
import time
import urllib.parse

import qio

CLIENTS, LINES = 200, 5
TIMEOUT = 20                    # seconds for everything together


class EchoServer:
    """Rules: nothing waits but the loop.  Each client has one watch: for input, or, while it
    has not taken everything, for output alone, so that who does not read is not read either."""

    def __init__(self, loop, listener):
        self.loop = loop
        self.open = self.most_open = self.served = self.lines = self.bytes = 0
        loop.watch(listener, 'in', self.accept)

    def accept(self, listener, condition):
        Client(self, listener.accept(timeout=0))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return True


class Client:
    def __init__(self, server, channel):
        self.server, self.channel, self.unsent = server, channel, b''
        channel.setblocking(False)
        server.loop.watch(channel, 'in', self.readable)

    def readable(self, channel, condition):
        data = channel.read_some(65536)
        if data is None:                        # nothing there after all
            return True
        if not data:
            return self.finish()
        self.server.bytes += len(data)
        self.server.lines += data.count(b'\n')
        self.unsent = data
        if self.flush():
            return True
        self.server.loop.watch(channel, 'out', self.writable)
        return False

    def writable(self, channel, condition):
        if not self.flush():
            return True
        self.server.loop.watch(channel, 'in', self.readable)
        return False

    def flush(self):
        """Whether everything has been taken."""
        count = self.channel.write(self.unsent)
        self.unsent = self.unsent[count or 0:]
        return not self.unsent

    def finish(self):
        self.channel.close()
        self.server.open -= 1
        self.server.served += 1
        return False


def serve(count=CLIENTS, lines=LINES):
    """Serves the clients of a second process; gives (server, the clients' report)."""
    with tempfile.TemporaryDirectory(prefix='qio-serve-') as folder:
        uri = 'unix:' + urllib.parse.quote(os.path.join(folder, 'socket'))
        loop = qio.Loop()
        with qio.listen(uri, backlog=count) as listener:
            server = EchoServer(loop, listener)
            argv = [sys.executable, __file__, '--clients', uri, str(count), str(lines)]
            with qio.command(argv) as clients:
                report = _run(loop, server, clients)
                clients.wait_exit(timeout=TIMEOUT)
                if clients.returncode != 0:
                    raise RuntimeError(f'the clients ended with status {clients.returncode}')
        return server, json.loads(report)


def _run(loop, server, clients):
    """Turns the loop until the clients have reported and left; gives the report."""
    parts = []
    clients.setblocking(False)

    def on_report(channel, condition):
        data = channel.read_some(4096)
        if data is not None:
            parts.append(data)
        return data != b''

    def on_timeout():                           # what a callback raises comes out of run_once
        raise TimeoutError(f'the clients were not done within {TIMEOUT} s')

    loop.watch(clients, 'in', on_report)
    loop.add_timer(TIMEOUT, on_timeout)
    while server.open or b'' not in parts:
        loop.run_once()
    return b''.join(parts)


def line_of(client, number):
    return f'client {client} line {number} {"." * (client % 60)}\n'.encode()


def run_clients(uri, count, lines):
    """The second process: all connect, then all send and all look at the answers, in rounds."""
    wrong = size = 0
    channels = [qio.connect(uri, timeout=TIMEOUT) for _ in range(count)]
    for number in range(lines):
        for client, channel in enumerate(channels):
            channel.write_all(line_of(client, number), timeout=TIMEOUT)
        for client, channel in enumerate(channels):
            answer = channel.readline(timeout=TIMEOUT)
            wrong += answer != line_of(client, number)
            size += len(answer)
    for channel in channels:
        channel.close()
    print(json.dumps({'clients': count, 'lines': count * lines, 'bytes': size, 'wrong': wrong}))


def main(args):
    if len(args) == 4 and args[0] == '--clients':
        run_clients(args[1], int(args[2]), int(args[3]))
        return
    start = time.monotonic()
    server, report = serve()
    took = time.monotonic() - start
    print(f'{server.served} clients served, {server.most_open} of them at once')
    print(f'{server.lines} lines, {server.bytes} bytes echoed in {took * 1000:.0f} ms')
    expected = {'clients': CLIENTS, 'lines': server.lines, 'bytes': server.bytes, 'wrong': 0}
    if report != expected or server.most_open != CLIENTS or server.lines != CLIENTS * LINES:
        sys.exit(f'but the clients say {report}')
    print('every line came back to its client as it was sent')


if __name__ == '__main__':
    main(sys.argv[1:])
