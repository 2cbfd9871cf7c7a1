#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3-websockets as a program: a server of an inherited socket, or a client of one step.

    ws_peer.py serve FD [CERT KEY]
    ws_peer.py STEP URI [CA] [--deflate]    STEP: a name of STEPS; prints "ok STEP", status 0

What the server does: a text "!close CODE REASON" closes, "!ping DATA" pings and tells "pong DATA"
when the answer has come, "!fragments A B ..." sends A, B ... as one message of as many fragments;
any other message is sent back as it came.  ws_peer.js is the same in node.
"""

import asyncio
import socket
import ssl
import sys

import websockets

BULK = bytes(i * 31 % 251 for i in range(65536))
PROTOCOLS = ['binary', 'chat']


async def serve_client(ws, path=None):
    async for message in ws:
        if not isinstance(message, str) or not message.startswith('!'):
            await ws.send(message)
            continue
        verb, *words = message[1:].split(' ')
        if verb == 'close':
            await ws.close(int(words[0]), ' '.join(words[1:]))
        elif verb == 'ping':
            await (await ws.ping(words[0]))
            await ws.send(f'pong {words[0]}')
        elif verb == 'fragments':
            await ws.send(words)


async def serve(fd, cert=None, key=None):
    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    listener = socket.socket(fileno=int(fd))
    listen = websockets.unix_serve if listener.family == socket.AF_UNIX else websockets.serve
    async with listen(serve_client, sock=listener, ssl=context, subprotocols=PROTOCOLS):
        await asyncio.Future()


def check(got, expected):
    if got != expected:
        sys.exit(f'not {expected!r:.200}: {got!r:.200}')


async def echo(ws, message):
    await ws.send(message)
    check(await ws.recv(), message)


async def text(ws):
    for message in ('hello', '', 'gr\u00fc\u00df dich \u2603 \U0001f600', 'x' * 125, 'x' * 126):
        await echo(ws, message)


async def binary(ws):
    for message in (bytes(range(256)), b'', b'\0' * 125, b'\xff' * 126):
        await echo(ws, message)


async def fragmented(ws):
    await ws.send(['one ', 'two', '', ' thr\u00e9e'])
    check(await ws.recv(), 'one two thr\u00e9e')
    await ws.send([b'\0\1', b'', b'\2'])
    check(await ws.recv(), b'\0\1\2')
    await ws.send('!fragments a b cd')
    check(await ws.recv(), 'abcd')


async def bulk(ws):
    for size in (65535, 65536):
        await echo(ws, BULK[:size])


async def ping(ws):
    await (await ws.ping(b'are you there'))
    await ws.send('!ping payload')
    check(await ws.recv(), 'pong payload')


async def wait_closed(ws):
    try:
        check(await ws.recv(), 'the end')
    except websockets.ConnectionClosed:
        return ws.close_code, ws.close_reason


async def close(ws):
    await ws.send('!close 4001 gone f\u00fcr good')
    check(await wait_closed(ws), (4001, 'gone f\u00fcr good'))


async def close_by_client(ws):
    """The server has to answer with the same code; its own side is for the test to look at."""
    await ws.close(4002, 'enough')
    check(ws.close_code, 4002)


async def protocol(ws):
    check(ws.subprotocol, 'chat')
    await echo(ws, 'x')


STEPS = {function.__name__.replace('_', '-'): function
         for function in (text, binary, fragmented, bulk, ping, close, close_by_client, protocol)}


async def connect(step, uri, ca=None, deflate=False):
    more = {'ssl': ssl.create_default_context(cafile=ca)} if ca else {}
    if step == 'protocol':
        more['subprotocols'] = ['unknown', 'chat']
    if uri.startswith('unix:'):
        connecting = websockets.unix_connect(uri[5:], 'ws://localhost/', **more,
                                             compression='deflate' if deflate else None)
    else:
        connecting = websockets.connect(uri, **more, compression='deflate' if deflate else None)
    async with connecting as ws:
        if deflate:
            check([extension.name for extension in ws.extensions], ['permessage-deflate'])
        await STEPS[step](ws)
    print('ok', step)


def main():
    verb, *words = [word for word in sys.argv[1:] if word != '--deflate']
    if verb == 'serve':
        asyncio.run(serve(*words))
    else:
        asyncio.run(asyncio.wait_for(connect(verb, *words, deflate='--deflate' in sys.argv), 20))


main()
