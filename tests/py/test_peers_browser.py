# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chromium as a WebSocket client of our server, and noVNC in it through our server to QEMU's screen."""

import contextlib

import pytest

import qio
from library_side import Serving, creds, serve_messages
from peers import PATIENCE
from peers.browser import NOVNC, Browser, Pages, VncServer

pytestmark = pytest.mark.needs('chromium', 'qemu-system-x86_64', 'openssl')

# The steps, as the body of an async function of the URI; `ws` is open, `next()` the next message.
OPEN = '''
const ws = new WebSocket(a, b);
ws.binaryType = 'arraybuffer';
const arrived = [], waiting = [];
ws.onmessage = ({ data }) => waiting.length ? waiting.shift()(data) : arrived.push(data);
const next = () => new Promise((resolve) =>
    arrived.length ? resolve(arrived.shift()) : waiting.push(resolve));
const closed = new Promise((resolve) => ws.onclose = ({ code, reason, wasClean }) =>
    resolve([code, reason, wasClean]));
await new Promise((resolve, reject) => { ws.onopen = resolve; ws.onerror = reject; });
'''
STEPS = {
    'text': ('''
        const sent = ['hello', '', 'gr\\u00fc\\u00df dich \\u2603 \\u{1f600}', 'x'.repeat(125),
                      'x'.repeat(126)];
        const got = [];
        for (const message of sent) { ws.send(message); got.push(await next() === message); }
        return got;''', [True] * 5),
    'binary': ('''
        const got = [];
        for (const size of [0, 1, 125, 126, 256]) {
            const sent = Uint8Array.from({ length: size }, (_, i) => i);
            ws.send(sent);
            const data = new Uint8Array(await next());
            got.push(data.length === size && data.every((value, i) => value === i));
        }
        return got;''', [True] * 5),
    'bulk': ('''
        const got = [];
        for (const size of [65535, 65536, 1000003]) {
            const sent = Uint8Array.from({ length: size }, (_, i) => i * 31 % 251);
            ws.send(sent);
            const data = new Uint8Array(await next());
            got.push(data.length === size && data.every((value, i) => value === sent[i]));
        }
        return got;''', [True] * 3),
    'ping': ('''
        ws.send('!ping payload');
        return await next();''', 'pong payload'),
    'close': ('''
        ws.send('!close 4001 gone f\\u00fcr good');
        return await closed;''', [4001, 'gone f\u00fcr good', True]),
    'close-by-client': ('''
        ws.close(4002, 'enough');
        return await closed;''', [4002, '', True]),         # the code comes back, as the RFC has it
    'protocol': ('return [ws.protocol, ws.extensions];', ['chat', '']),
    'deflate': ('''
        ws.send('compress '.repeat(10000));
        return [ws.extensions, (await next()).length];''', ['permessage-deflate', 90000]),
}


@pytest.fixture(scope='module')
def browser(tmp_path_factory, pki):
    with Browser(tmp_path_factory.mktemp('browser'), [pki.server_cert]) as browser:
        yield browser


@pytest.fixture(scope='module')
def page(browser, tmp_path_factory):
    """One page is enough: each step has a connection of its own."""
    folder = tmp_path_factory.mktemp('pages')
    (folder / 'index.html').write_text('<!doctype html><title>tests</title>')
    with contextlib.ExitStack() as stack:
        with Pages(folder) as pages:
            page = stack.enter_context(browser.page(pages.origin + '/index.html'))
        page.origin = pages.origin
        yield page


@pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])
@pytest.mark.parametrize('step', STEPS)
def test_client(page, pki, step, secure):
    keys = {'ws_mode': 'messages', 'ws_protocol': ['binary', 'chat'],
            'ws_deflate': step == 'deflate'}
    if secure:
        keys['tls'] = creds('x509', '1.3', True, pki)
    asked = []

    def on_request(channel):
        asked.append((channel.request.path, channel.request.origin))

    scheme, host = ('wss', 'localhost') if secure else ('ws', '127.0.0.1')
    listener = qio.listen(f'{scheme}://127.0.0.1:0/', on_request=on_request, **keys)
    script, expected = STEPS[step]
    with Serving(listener, serve_messages) as serving:
        result = page.run(f'{OPEN} try {{ {script} }} finally {{ ws.close(); }}',
                          f'{scheme}://{host}:{listener.port}/some/path?query', ['unknown', 'chat'])
    assert result == expected
    assert asked == [('/some/path?query', page.origin)]
    if step == 'close-by-client':
        assert serving.results == [(4002, 'enough')]


@pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])
def test_novnc(browser, pki, tmp_path, secure):
    """The screen of a machine, through a WebSocket that carries a stream of bytes."""
    def serve(client):
        with qio.connect(f'unix:{tmp_path}/vnc', timeout=PATIENCE) as screen:
            try:
                counts = qio.relay(client, screen)
            except qio.Error as error:          # the page goes away without a word
                counts = error.counts
        return client.protocol, counts

    keys = {'tls': creds('x509', '1.3', True, pki)} if secure else {}
    scheme, host = ('wss', 'localhost') if secure else ('ws', '127.0.0.1')
    listener = qio.listen(f'{scheme}://127.0.0.1:0/', ws_protocol=['binary'], **keys)
    query = f'host={host}&port={listener.port}&path='
    cert = [pki.server_cert, pki.server_key] if secure else []
    with VncServer(tmp_path / 'vnc'), Pages(NOVNC, *cert) as pages, \
            Serving(listener, serve) as serving:
        with browser.page(f'{pages.origin}/vnc_lite.html?{query}') as page:
            assert page.wait_for_vnc() == ['Connected to QEMU', 640, 480]
        serving.wait()
    protocol, (keys, pixels) = serving.results[0]
    assert protocol in ('binary', None) and keys > 50 and pixels > 200
