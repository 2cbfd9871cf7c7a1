# SPDX-License-Identifier: LGPL-2.1-or-later
"""The transports of qio.aio under a library that others wrote: HTTP with aiohttp, client and server.

Either end is aiohttp over a channel; or one is, and the other aiohttp over asyncio's own sockets.
"""

import asyncio

import pytest

import qio
import qio.aio as aio
from aioloops import LOOPS, run
from qio.testing import memory_pair
from test_aio_layers import psk

aiohttp = pytest.importorskip('aiohttp')
web = pytest.importorskip('aiohttp.web')
BODY = bytes(range(256)) * 4096


@pytest.fixture(params=LOOPS)
def loop(request):
    """The name of the loop that the test runs in."""
    return request.param


class ChannelConnector(aiohttp.BaseConnector):
    """Connects aiohttp's client by channels: dial() gives the arguments of create_connection()."""

    def __init__(self, dial):
        super().__init__()
        self.dial = dial
        self.made = 0

    async def _create_connection(self, req, traces, timeout):
        self.made += 1
        where, keys = self.dial()
        return (await aio.create_connection(self._factory, where, **keys))[1]


def application(ended):
    async def echo(request):
        return web.Response(body=await request.read())

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(BODY), 100_000):
            await response.write(BODY[at:at + 100_000])
        await response.write_eof()
        return response

    async def talk(request):
        talk = web.WebSocketResponse()
        await talk.prepare(request)
        async for message in talk:
            await talk.send_str(message.data.upper())
        return talk

    async def who(request):
        return web.json_response({'ours': isinstance(request.transport, aio.Transport),
                                  'peer': str(request.remote)})

    app = web.Application(client_max_size=len(BODY) * 2)
    app.add_routes([web.post('/echo', echo), web.get('/stream', stream), web.get('/talk', talk),
                    web.get('/who', who)])

    async def clean_up(app):
        ended.append('cleaned up')

    app.on_cleanup.append(clean_up)
    return app


async def conversation(session, ours):
    """All that one session says, over one connection and that of the WebSocket."""
    async with session.get('http://x/who') as response:
        assert response.status == 200
        assert (await response.json())['ours'] is ours
    async with session.post('http://x/echo', data=BODY) as response:
        assert await response.read() == BODY
    async with session.get('http://x/stream') as response:
        assert response.headers['Transfer-Encoding'] == 'chunked'
        assert await response.read() == BODY
    async with session.get('http://x/none') as response:
        assert response.status == 404
    async with session.ws_connect('http://x/talk') as talk:
        await talk.send_str('hello')
        assert await talk.receive_str(timeout=10) == 'HELLO'
    requests = [session.post('http://x/echo', data=str(i).encode()) for i in range(5)]
    answers = await asyncio.gather(*requests)
    assert [await answer.read() for answer in answers] == [str(i).encode() for i in range(5)]
    for answer in answers:
        answer.release()


async def served(serve, dial, server_is_ours=True):
    """A conversation with a server that serve(factory) makes."""
    ends = []
    runner = web.AppRunner(application(ends), access_log=None)
    await runner.setup()
    server = await serve(runner)
    connector = ChannelConnector(lambda: dial(server))
    async with aiohttp.ClientSession(connector=connector) as session:
        await conversation(session, server_is_ours)
    assert 2 <= connector.made <= 7         # the others came over connections that were kept
    if server_is_ours:
        server.close()
    await runner.cleanup()
    if server_is_ours:
        await server.wait_closed()
    assert ends == ['cleaned up']


@pytest.mark.parametrize('scheme', ['tcp', 'unix', 'tls', 'ws', 'wss'])
def test_client_and_server_over_channels(loop, tmp_path, scheme):
    server_creds, client_creds = psk()
    where = f'unix:{tmp_path}/s' if scheme == 'unix' else 'tcp://127.0.0.1:0'
    layers = {'tls': 'tls+', 'ws': 'ws+', 'wss': 'ws+tls+'}.get(scheme, '')
    secret = 'tls' in layers
    run(loop, lambda: served(
        lambda runner: aio.create_server(runner.server, layers + where,
                                         **{'tls': server_creds} if secret else {}),
        lambda server: (server.address, {'tls': client_creds} if secret else {})))


def test_a_client_over_a_channel_and_a_server_over_sockets(loop, tmp_path):
    async def serve(runner):
        site = web.UnixSite(runner, f'{tmp_path}/s')
        await site.start()
        return site
    run(loop, lambda: served(serve, lambda site: (f'unix:{tmp_path}/s', {}), False))


def test_a_client_over_sockets_and_a_server_over_channels(loop, tmp_path):
    async def main():
        runner = web.AppRunner(application([]), access_log=None)
        await runner.setup()
        server = await aio.create_server(runner.server, f'unix:{tmp_path}/s')
        connector = aiohttp.UnixConnector(f'{tmp_path}/s')
        async with aiohttp.ClientSession(connector=connector) as session:
            await conversation(session, True)
        server.close()
        await runner.cleanup()
        await server.wait_closed()
    run(loop, main)


def test_over_channels_written_in_python(loop):
    """Each connection is a pair in memory, whose other end the server has."""
    async def main():
        runner = web.AppRunner(application([]), access_log=None)
        await runner.setup()
        theirs = []

        def dial():
            ours, other = memory_pair()
            theirs.append(aio.Transport(asyncio.get_running_loop(), other, runner.server()))
            return ours, {}

        async with aiohttp.ClientSession(connector=ChannelConnector(dial)) as session:
            await conversation(session, True)
        await runner.server.shutdown(10)
        await runner.cleanup()
        assert all(transport.is_closing() for transport in theirs)
    run(loop, main)


def test_a_server_that_is_gone(loop, tmp_path):
    async def main():
        connector = ChannelConnector(lambda: (f'unix:{tmp_path}/none', {}))
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(FileNotFoundError):
                await session.get('http://x/')
    run(loop, main)


def test_a_client_that_times_out_leaves_nothing(loop):
    async def main():
        with qio.listen('tcp://127.0.0.1:0') as listener:
            connector = ChannelConnector(lambda: (listener.address, {}))
            timeout = aiohttp.ClientTimeout(total=0.05)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                with pytest.raises(asyncio.TimeoutError):
                    await session.get('http://x/')
            with listener.accept(timeout=10) as channel:
                assert channel.read_until(b'\r\n\r\n', timeout=10).startswith(b'GET / HTTP/1.1')
                assert channel.read(timeout=10) == b''
    run(loop, main)
