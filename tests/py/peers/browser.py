# SPDX-License-Identifier: LGPL-2.1-or-later
"""Headless Chromium, the pages it loads, and a VNC server for noVNC.

Owns: the browser's process, its profile (a folder of the test), the pipe that drives it: DevTools
messages on two descriptors, each ended by a NUL byte, so that no port is open and no WebSocket but
the tested one is in it.  One thread drives it.
"""

import base64
import contextlib
import functools
import hashlib
import http.server
import itertools
import json
import os
import pathlib
import select
import socket
import ssl
import subprocess
import threading
import time

from . import PATIENCE, Peer, PeerFailed, run

NOVNC = pathlib.Path('/usr/share/novnc')

# Nothing but what the tests need: no first-run page, no update, no sound, no request of its own.
# The sandbox needs rights that a container does not give; it loads pages of the tests alone.
SWITCHES = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            '--no-first-run', '--no-default-browser-check', '--disable-background-networking',
            '--disable-component-update', '--disable-sync', '--disable-extensions',
            '--disable-default-apps', '--mute-audio', '--use-mock-keychain',
            '--password-store=basic', '--no-proxy-server', '--remote-debugging-pipe']


def key_hash(cert):
    """How Chromium names the key of a certificate that it is to trust."""
    public = run('openssl', 'x509', '-in', cert, '-pubkey', '-noout')
    der = base64.b64decode(''.join(public.splitlines()[1:-1]))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Browser:
    def __init__(self, folder, trusted=()):
        """trusted: certificates that it takes for good, as if their authority were installed."""
        keys = ','.join(key_hash(cert) for cert in trusted)
        argv = ['chromium', *SWITCHES, f'--user-data-dir={folder}',
                f'--ignore-certificate-errors-spki-list={keys}', 'about:blank']
        theirs_in, self.commands = os.pipe()
        self.answers, theirs_out = os.pipe()
        self.log = open(folder / 'log', 'w+b')
        # Chromium reads commands from descriptor 3 and writes to 4.
        script = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        try:
            self.process = subprocess.Popen(
                ['/bin/bash', '-c', script, 'browser', str(theirs_in), str(theirs_out), *argv],
                pass_fds=[theirs_in, theirs_out], stdin=subprocess.DEVNULL, stdout=self.log,
                stderr=self.log, env={**os.environ, 'HOME': str(folder)}, start_new_session=True)
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self.numbers = itertools.count(1)
        self.buffer = b''
        self.events = []                # (session, name) since the last page was asked for

    def _fail(self, what):
        self.log.seek(0)
        log = self.log.read().decode(errors='backslashreplace')
        raise PeerFailed(f'{what}; the browser wrote:\n{log[-4000:]}')

    def _message(self, deadline):
        while b'\0' not in self.buffer:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.answers], [], [], left)[0]:
                self._fail('the browser does not answer')
            data = os.read(self.answers, 1 << 20)
            if not data:
                self._fail('the browser has ended')
            self.buffer += data
        text, self.buffer = self.buffer.split(b'\0', 1)
        message = json.loads(text)
        self.events.append((message.get('sessionId'), message.get('method')))
        return message

    def call(self, method, session=None, **parameters):
        """One DevTools command; gives its result."""
        number = next(self.numbers)
        command = {'id': number, 'method': method, 'params': parameters}
        if session:
            command['sessionId'] = session
        os.write(self.commands, json.dumps(command).encode() + b'\0')
        deadline = time.monotonic() + PATIENCE
        while (message := self._message(deadline)).get('id') != number:
            pass
        if 'error' in message:
            self._fail(f'{method}: {message["error"]}')
        return message['result']

    @contextlib.contextmanager
    def page(self, url):
        """A page that has been loaded; scripts run in it with run()."""
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        try:
            self.call('Page.enable', session)
            self.events.clear()
            self.call('Page.navigate', session, url=url)
            deadline = time.monotonic() + PATIENCE
            while (session, 'Page.loadEventFired') not in self.events:
                self._message(deadline)
            yield Page(self, session)
        finally:
            self.call('Target.closeTarget', targetId=target)

    def close(self):
        with contextlib.suppress(OSError, PeerFailed):
            self.call('Browser.close')
        try:
            self.process.wait(PATIENCE / 2)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)      # its session: the processes of its pages too
            self.process.wait()
        os.close(self.commands)
        os.close(self.answers)
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class Page:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def evaluate(self, script):
        """The value of an expression, as JSON has it; a promise is waited for."""
        result = self.browser.call('Runtime.evaluate', self.session, expression=script,
                                   awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in result:
            details = result['exceptionDetails']
            raise PeerFailed(f'{details["text"]} {details.get("exception")}')
        return result['result'].get('value')

    def run(self, script, *arguments):
        """A script as the body of an async function of the arguments a, b, c ..."""
        names = 'abcdefgh'[:len(arguments)]
        return self.evaluate(f'(async ({", ".join(names)}) => {{ {script} }})'
                             f'({", ".join(map(json.dumps, arguments))})')

    def wait_for_vnc(self):
        """On noVNC's page, as soon as something is on the screen: [status, width, height]."""
        return self.run("""
            for (;;) {
                const status = document.getElementById('status');
                const canvas = document.querySelector('#screen canvas');
                if (status && /^Connected/.test(status.textContent) && canvas && canvas.width) {
                    const { width, height } = canvas;
                    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
                    if (data.some((value, i) => i % 4 != 3 && value > 128)) {
                        return [status.textContent, width, height];
                    }
                }
                await new Promise(requestAnimationFrame);
            }""")


class Pages:
    """A web server of a folder on the loopback interface; https when given a certificate."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        """Browsers connect ahead and ask for nothing: such connections are ended at the close."""

        daemon_threads = False

        def __init__(self, *args):
            self.connections = []
            super().__init__(*args)

        def process_request(self, request, address):
            self.connections.append(request)
            super().process_request(request, address)

        def handle_error(self, request, address):
            pass

        def server_close(self):
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            super().server_close()

    def __init__(self, folder, cert=None, key=None):
        handler = functools.partial(self.Handler, directory=str(folder))
        self.server = self.Server(('127.0.0.1', 0), handler)
        self.origin = f'http://127.0.0.1:{self.server.server_address[1]}'
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.origin = f'https://localhost:{self.server.server_address[1]}'
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join(PATIENCE)
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class VncServer(Peer):
    """A machine that has nothing but a display, at a unix socket."""

    def __init__(self, path):
        super().__init__(['qemu-system-x86_64', '-machine', 'none', '-nodefaults', '-S',
                          '-display', f'vnc=unix:{path}', '-qmp', 'stdio'])

    def ready(self):
        # It answers when it has set everything up, the display last.
        self.write(b'{"execute": "qmp_capabilities"}\n{"execute": "query-vnc"}\n')
        self.wait_for(r'"enabled": true')
