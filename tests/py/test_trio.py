# SPDX-License-Identifier: LGPL-2.1-or-later
"""qio.trio: the verbs awaited, and cancelled at any moment; layers, commands, relays."""

import functools
import random
import socket

import pytest
import trio
import trio.testing

import qio
import qio.trio as qtrio
from pki import PSK_USER
from qio.testing import memory_pair
from triorig import CLIENT, SERVER, AsyncChannel, Result, in_trio, layered, pair, settle
from verbs import every_verb

# ---- reading and writing ----

@in_trio
async def test_verbs():
    await every_verb(*pair())


@in_trio
async def test_waits_for_what_comes():
    a, b = pair()
    async with a, b, trio.open_nursery() as nursery:
        calls = [lambda: b.read_some(10), lambda: b.readinto(bytearray(10)),
                 lambda: b.read_exactly(3), lambda: b.readline(), lambda: b.peek(3),
                 lambda: b.readv([bytearray(3)]), lambda: b.recv_fds(3)]
        for call in calls:
            result = Result(nursery, call)
            await settle()
            assert not result.done.is_set()
            await a.write(b'ab\n')
            assert await result.get() in (b'ab\n', 3, (b'ab\n', []))
            if call is calls[4]:
                assert await b.read_some() == b'ab\n'


@in_trio
async def test_every_await_is_a_checkpoint():
    a, b = pair()
    async with a, b:
        await a.write(b'x' * 1000)
        for call in (lambda: b.read_some(1), lambda: b.readinto(bytearray(1)),
                     lambda: b.read_exactly(1), lambda: b.peek(1), lambda: b.read_until(b'x'),
                     lambda: a.write(b'y'), lambda: a.flush(), lambda: a.wait(qio.OUT),
                     lambda: a.send_fds(b'y', []), lambda: b.recv_fds(1)):
            with trio.testing.assert_checkpoints():
                await call()
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught


@in_trio
async def test_a_cancelled_call_has_done_nothing():
    a, b = pair()
    async with a, b:
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.write(b'never')
        await a.write(b'x')
        with trio.CancelScope() as scope:
            scope.cancel()
            await b.read_some()
        assert await b.read_some() == b'x'


@in_trio
async def test_large_writes_wait_for_the_reader_and_go_out_whole():
    a, b = pair()
    size = 400_000
    async with a, b, trio.open_nursery() as nursery:
        writes = []
        for i in range(4):
            writes.append(Result(nursery, a.write, bytes([i]) * size))
            await settle()              # the order of tasks is trio's to choose
        for i in range(4):
            assert await b.read_exactly(size) == bytes([i]) * size
        assert [await write.get() for write in writes] == [size] * 4


@in_trio
async def test_a_cancelled_write_tells_how_far_it_came_and_lets_the_next_one_go():
    a, b = pair()
    written = []

    async def long():
        try:
            await a.write(b'x' * 5_000_000)
        except trio.Cancelled as error:
            written.append(error.bytes_written)
            raise

    async with a, b, trio.open_nursery() as nursery:
        first = Result(nursery, long)
        await settle()
        second = Result(nursery, a.write, b'never')
        await settle()
        third = Result(nursery, a.writev, [b'th', b'ird'])
        await settle()
        second.scope.cancel()
        first.scope.cancel()
        await first.done.wait()
        await second.done.wait()
        assert 0 < written[0] < 5_000_000
        assert await b.read_exactly(written[0]) == b'x' * written[0]
        assert await b.read_some() == b'third'
        assert await third.get() == 5


@in_trio
async def test_a_second_reader_is_busy():
    a, b = pair()
    async with a, b, trio.open_nursery() as nursery:
        result = Result(nursery, b.read_some)
        await settle()
        for call in (b.read_some, b.readline, AsyncChannel(b.channel).read):
            with pytest.raises(qio.BusyError):
                await call()
        await a.write(b'x')
        assert await result.get() == b'x'


@in_trio
async def test_the_mode_does_not_matter_and_stays():
    for blocking in (True, False):
        a, b = pair()
        async with a, b, trio.open_nursery() as nursery:
            b.channel.setblocking(blocking)
            result = Result(nursery, b.read_some)
            await settle()
            await a.write(b'x')
            assert await result.get() == b'x'
            assert b.channel.getblocking() is blocking


@in_trio
async def test_timeouts_lose_nothing():
    a, b = pair()
    async with a, b:
        await a.write(b'half a li')
        for call in (b.readline, lambda: b.read_exactly(20), b.read):
            with pytest.raises(trio.TooSlowError):
                with trio.fail_after(0.01):
                    await call()
        await a.write(b'ne\n')
        assert await b.readline() == b'half a line\n'


@pytest.mark.parametrize('kind', ['plain', 'tls', 'websocket'])
@pytest.mark.parametrize('seed', range(3))
@in_trio
async def test_random_cancellations_lose_no_byte(kind, seed):
    """Readers are cancelled at any moment; the bytes that the others got are all that was sent."""
    rng = random.Random(seed)
    sent = rng.randbytes(8000)
    got, buf, cancelled = bytearray(), bytearray(64), 0
    a, b = await layered(kind)

    async def read():
        which = rng.randrange(5)
        if which == 0:
            got.extend(await b.read_some(rng.randrange(1, 50)))
        elif which == 1:
            n = await b.readinto(memoryview(buf)[:rng.randrange(1, 64)])
            got.extend(buf[:n])
        elif which == 2:
            got.extend(await b.read_exactly(rng.randrange(1, 9)))
        elif which == 3:
            got.extend(await b.read_until([b'\0', b'\1', b'\2']))
        else:
            await b.peek(3)

    async def write():
        rest = sent
        while rest:
            n = rng.randrange(1, 40)
            await a.write(rest[:n])
            rest = rest[n:]
            for _ in range(rng.randrange(3)):
                await trio.lowlevel.checkpoint()
        await a.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while len(got) < len(sent):
            result = Result(nursery, read)
            for _ in range(rng.randrange(4)):
                await trio.lowlevel.checkpoint()
            if rng.random() < 0.6:
                result.scope.cancel()
            await result.done.wait()
            cancelled += result.scope.cancelled_caught
            if result.error is not None:
                got.extend(result.error.partial)
    assert bytes(got) == sent
    assert cancelled > 20
    await a.aclose()
    await b.aclose()


# ---- descriptors, and the end ----

@pytest.mark.parametrize('how', ['close', 'channel', 'aclose', 'cancel', 'thread'])
@in_trio
async def test_who_waits_is_ended(how):
    a, b = pair()
    async with a, trio.open_nursery() as nursery:
        reading = Result(nursery, b.read_some)
        filling = Result(nursery, b.write, b'x' * 5_000_000)
        await settle()
        queued = Result(nursery, b.write, b'y')
        await settle()
        if how == 'close':
            b.close()
        elif how == 'channel':
            b.channel.close()
        elif how == 'cancel':
            b.cancel()
        elif how == 'thread':
            await trio.to_thread.run_sync(b.channel.close)
        else:
            await b.aclose()
        for result in reading, filling, queued:
            with pytest.raises((qio.AbortedError, qio.ClosedError)):
                await result.get()
        assert isinstance(reading.error, qio.AbortedError)
        if how == 'cancel':
            assert await b.write(b'') == 0
        b.close()


@in_trio
async def test_the_number_of_a_closed_descriptor_can_be_used_again():
    for close in (lambda channel: channel.close(), lambda channel: channel.channel.close()):
        a, b = pair()
        numbers = {a.fileno(), b.fileno()}
        async with trio.open_nursery() as nursery:
            result = Result(nursery, b.read_some)
            await settle()
            close(b)
            with pytest.raises(qio.AbortedError):
                await result.get()
        a.close()
        ends = socket.socketpair()
        assert {end.fileno() for end in ends} == numbers
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ends[0]))
        async with stream, trio.open_nursery() as nursery:
            result = Result(nursery, stream.receive_some)
            await settle()
            ends[1].sendall(b'x')
            assert await result.get() == b'x'
        ends[1].close()


@in_trio
async def test_detach():
    a, b = pair()
    async with a, trio.open_nursery() as nursery:
        result = Result(nursery, b.read_some)
        await settle()
        with socket.socket(fileno=b.channel.detach()) as sock:
            with pytest.raises((qio.AbortedError, qio.ClosedError)):
                await result.get()
            await a.write(b'x')
            assert sock.recv(1) == b'x'


@in_trio
async def test_channels_without_descriptors():
    memory = AsyncChannel(qio.buffer(b'one\ntwo'))
    assert await memory.readline() == b'one\n'
    assert [line async for line in memory] == [b'two']
    async with AsyncChannel(qio.null()) as null:
        await null.write(b'x' * 100000)
        assert await null.read() == b''


@in_trio
async def test_a_channel_that_tells_of_itself():
    """It has no descriptor: what notify() says wakes who waits."""
    a, b = map(AsyncChannel, memory_pair(capacity=1000))
    async with a, b, trio.open_nursery() as nursery:
        result = Result(nursery, b.readline)
        await settle()
        await a.write(b'hello\n')
        assert await result.get() == b'hello\n'
        filling = Result(nursery, a.write, b'x' * 5000)
        await settle()
        assert len(await b.read_exactly(5000)) == 5000 == await filling.get()
        result = Result(nursery, b.read_some)
        await settle()
        await trio.to_thread.run_sync(a.channel.write, b'from a thread')
        assert await result.get() == b'from a thread'
        with trio.move_on_after(0.01) as scope:
            await b.read_some()
        assert scope.cancelled_caught
        result = Result(nursery, b.read_some)
        await settle()
        b.cancel()
        with pytest.raises(qio.AbortedError):
            await result.get()
        mine = KeyError('mine')
        result = Result(nursery, b.read_some)
        await settle()
        b.channel.read_error = mine
        with pytest.raises(KeyError) as caught:
            await result.get()
        assert caught.value is mine


@pytest.mark.parametrize('chunk', [None, 1, 100])
@in_trio
async def test_layers_over_a_channel_that_tells_of_itself(chunk):
    a, b = map(AsyncChannel, memory_pair(chunk=chunk, capacity=2000))

    async def echo():
        async with await a.start_tls(SERVER, server=True) as tls:
            async with await tls.websocket(server=True, mode='messages') as ws:
                async for message in ws:
                    await ws.send(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        async with await b.start_tls(CLIENT) as tls:
            async with await tls.websocket(mode='messages') as ws:
                for message in 'text', b'y' * 10000:
                    await ws.send(message)
                    assert await ws.recv() == message


# ---- layers ----

@in_trio
async def test_tls_upgrade_in_place():
    """Bytes read ahead are the first that TLS gets."""
    a, b = pair()

    async def server():
        assert await a.readline() == b'STARTTLS\n'
        tls = await a.start_tls(SERVER, server=True)
        async with tls:
            assert tls.tls.peer_name == PSK_USER
            await tls.write(await tls.readline())
            assert await tls.read() == b''

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        await b.write(b'STARTTLS\n')
        async with await b.start_tls(CLIENT) as tls:
            await tls.write(b'secret\n')
            assert await tls.readline() == b'secret\n'
            assert tls.tls.version == 'TLS1.3'


@in_trio
async def test_a_cancelled_handshake_closes_both():
    a, b = pair()
    async with b:
        with trio.move_on_after(0.02):
            await a.start_tls(CLIENT)
        assert a.closed
        with pytest.raises(qio.Error):
            await b.read_exactly(100000)


@in_trio
async def test_messages():
    async def echo(channel):
        async for message in channel:
            await channel.send(message)

    async with trio.open_nursery() as nursery:
        listener = await nursery.start(functools.partial(
            qtrio.serve, echo, 'ws+tls+tcp://127.0.0.1:0', tls=SERVER, ws_mode='messages'))
        async with await qtrio.connect(listener.address, tls=CLIENT, ws_mode='messages') as ws:
            for message in ('text', b'binary', 'x' * 200_000):
                await ws.send(message)
                assert await ws.recv() == message
            assert ws.request is not None and ws.protocol is None
            ws.ping(b'x')
        listener.close()


@in_trio
async def test_a_reader_and_a_writer_of_one_layer():
    """Both may wait for the one descriptor at once."""
    for kind in ('plain', 'tls', 'websocket'):
        a, b = await layered(kind)

        async def send(channel):
            await channel.write(b'z' * 1_000_000)

        async with a, b, trio.open_nursery() as nursery:
            results = [Result(nursery, channel.read_exactly, 1_000_000) for channel in (a, b)]
            for channel in a, b:
                nursery.start_soon(send, channel)
            for result in results:
                assert len(await result.get()) == 1_000_000


@in_trio
async def test_who_looks_takes_nothing_from_who_waits():
    """A look at a layer may decode what a reader waits for at the descriptor."""
    for look in (lambda channel: channel.closed, lambda channel: channel.pending,
                 lambda channel: channel.peer_address):
        a, b = await layered('tls')
        async with a, b, trio.open_nursery() as nursery:
            result = Result(nursery, b.read_some)
            await settle()
            await a.write(b'x')
            look(b)
            assert await result.get() == b'x'
            result = Result(nursery, b.read_some)
            await settle()
            a.channel.write(b'y')
            assert await b.wait(qio.IN) == qio.IN
            assert await result.get() == b'y'


# ---- descriptors, commands, relays ----

@in_trio
async def test_descriptors_are_passed(tmp_path):
    path = tmp_path / 'file'
    path.write_text('contents')
    a, b = pair()
    async with a, b, trio.open_nursery() as nursery:
        result = Result(nursery, b.recv_fds, 100)
        await settle()
        with open(path, encoding='ascii') as file:
            await a.send_fds(b'here', [file])
        data, (fd,) = await result.get()
        assert data == b'here'
        with fd.open('r') as file:
            assert file.read() == 'contents'


@in_trio
async def test_commands():
    async with AsyncChannel(qio.command(['sh', '-c', 'read x; echo "<$x>"; echo err >&2; exit 3'],
                                        stderr='pipe')) as command:
        await command.write(b'hello\n')
        assert await command.readline() == b'<hello>\n'
        assert await command.stderr.read() == b'err\n'
        assert await command.wait_exit() == 3
        assert command.returncode == 3
        command.stderr.close()
    async with AsyncChannel(qio.command(['sleep', '100'])) as command:
        with trio.move_on_after(0.02) as scope:
            await command.wait_exit()
        assert scope.cancelled_caught and command.returncode is None
        command.terminate()
        assert await command.wait_exit() == -15


@in_trio
async def test_relay():
    a, b = pair()
    c, d = pair()
    async with a, b, c, d, trio.open_nursery() as nursery:
        result = Result(nursery, functools.partial(
            qtrio.relay, b, c, filter=lambda direction, data: data.upper()))
        await a.write(b'there')
        assert await d.read_exactly(5) == b'THERE'
        await d.write(b'back')
        assert await a.read_exactly(4) == b'BACK'
        await a.send_eof()
        await d.send_eof()
        assert await result.get() == qio.Counts(5, 4)


@in_trio
async def test_what_a_filter_raises_comes_out_of_relay(caplog):
    mine = KeyError('mine')

    def fail(direction, data):
        raise mine

    a, b = pair()
    c, d = pair()
    async with a, b, c, d, trio.open_nursery() as nursery:
        result = Result(nursery, functools.partial(qtrio.relay, b, c, filter=fail))
        await a.write(b'x')
        with pytest.raises(KeyError) as caught:
            await result.get()
        assert caught.value is mine
        assert not caplog.records


@in_trio
async def test_a_cancelled_relay_leaves_what_was_not_passed_on():
    a, b = pair()
    c, d = pair()
    async with a, b, c, d:
        with trio.move_on_after(0.02) as scope:
            await qtrio.relay(b, c)
        assert scope.cancelled_caught
        await a.write(b'x')
        assert await b.read_some() == b'x'
