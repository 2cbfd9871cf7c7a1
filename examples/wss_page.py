# SPDX-License-Identifier: LGPL-2.1-or-later
"""A page in a browser that talks to this program over wss:, without a web server in between.

    ./run python3 examples/wss_page.py

The listener does it all: TCP, TLS with a certificate of demo_keys.py, the WebSocket's handshake.
What accept() gives is a channel of messages.  The page says who it is, gets bytes, sends them back,
is thanked with a text, and closes with code 1000.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import tempfile

import qio
from demo_keys import Keys

BROWSER = 'chromium'
SWITCHES = ['--headless=new', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
            '--disable-extensions', '--disable-background-networking', '--disable-sync',
            '--disable-component-update', '--disable-breakpad', '--no-proxy-server',
            # It wants rights that a container does not give; the only page is the one below.
            '--no-sandbox']
TIMEOUT = 30
PROTOCOL = 'demo'
PAGE = '''<!doctype html><meta charset="utf-8"><title>libqio</title><link rel="icon" href="data:,">
<script>
const ws = new WebSocket(%s, %s);
ws.binaryType = 'arraybuffer';
ws.onopen = () => ws.send(JSON.stringify({ agent: navigator.userAgent, title: document.title }));
ws.onmessage = ({ data }) => {
  if (typeof data === 'string') ws.close(1000, data); else ws.send(data);
};
</script>
'''


@contextlib.contextmanager
def browser(folder, page, trusted_key):
    """A browser of our own that loads a page, until the end of the with block."""
    profile = os.path.join(folder, 'page')
    os.mkdir(profile)
    env = {**os.environ, 'HOME': profile, 'TMPDIR': profile}
    argv = [BROWSER, *SWITCHES, f'--user-data-dir={profile}',
            f'--ignore-certificate-errors-spki-list={trusted_key}', pathlib.Path(page).as_uri()]
    with qio.command(argv, stderr='null', env=env, close_timeout=10) as command:
        try:
            yield command
        finally:
            command.terminate()


def converse(ws, data):
    """Gives what the page said of itself, the bytes it sent back, and how it closed."""
    hello = json.loads(ws.recv())
    ws.send(data)
    back = ws.recv()
    ws.send('thank you')
    try:
        end = ws.recv()
    except qio.WebSocketError as error:
        end = error.close_code, error.reason
    return hello, back, end


def talk(folder, keys, data):
    """Serves one page.  Gives what converse() does, and facts about the connection."""
    creds = qio.TLSCreds.x509(cert=keys.file('server-cert.pem'), key=keys.file('server-key.pem'),
                              server=True, verify=False)
    with qio.listen('wss://127.0.0.1:0/', tls=creds, ws_mode='messages', ws_path='/talk',
                    ws_protocol=[PROTOCOL]) as listener:
        page = os.path.join(folder, 'page.html')
        with open(page, 'w', encoding='utf-8') as file:
            file.write(PAGE % (json.dumps(f'wss://localhost:{listener.port}/talk'),
                               json.dumps([PROTOCOL])))
        with browser(folder, page, keys.server_key_hash()), \
                listener.accept(timeout=TIMEOUT) as ws:
            ws.settimeout(TIMEOUT)
            result = converse(ws, data)
            facts = {'tls': ws.tls.version, 'cipher': ws.tls.cipher, 'protocol': ws.protocol,
                     'path': ws.request.path, 'uri': listener.address}
    return *result, facts


def main():
    data = random.Random(7).randbytes(256 * 1024)
    with tempfile.TemporaryDirectory(prefix='qio-page-') as folder:
        hello, back, end, facts = talk(folder, Keys(folder), data)
    print(f'{hello["agent"]} at {facts["path"]}, {facts["tls"]}, subprotocol {facts["protocol"]}')
    print(f'{len(back)} bytes came back, SHA-256 {hashlib.sha256(back).hexdigest()[:16]}..., '
          f'{"the same" if back == data else "others"}; it closed with {end[0]} "{end[1]}"')
    return 0 if back == data and end == (1000, 'thank you') else 1


if __name__ == '__main__':
    raise SystemExit(main())
