# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs do with qio, as a type checker sees it: test_types.py checks this file with
mypy --strict and runs it.  A `type: ignore` is a mistake that the checker has to find; one that
it does not find is an error too."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import assert_type

import qio


def streams() -> None:
    a, b = qio.pair()
    assert_type(a, qio.SocketChannel)
    with a, b:
        assert_type(a.write(b"one\ntwo\n"), "int | None")
        line = b.readline(timeout=5)
        assert_type(line, "bytes | None")
        assert line == b"one\n"
        assert_type(b.read_exactly(4, timeout=qio.Deadline(5)), bytes)
        a.writev_all([b"12", bytearray(b"34"), memoryview(b"56")])
        assert_type(b.peek(2), "bytes | None")
        assert_type(b.readinto(bytearray(2)), "int | None")
        assert_type(b.readv([bytearray(1), bytearray(1)]), "int | None")
        assert_type(b.read_until(b"6", limit=10), "bytes | None")
        assert_type(b.wait(qio.OUT, timeout=0), qio.Cond)
        assert_type(b.wait("out", timeout=None), qio.Cond)
        assert_type(a.kind, str)
        assert_type(a.peer_address, "str | None")
        assert_type(a.peer_cred, "qio.PeerCred | None")
        assert_type(a.gettimeout(), "float | None")
        a.settimeout(None)
        a.send_eof()
        assert_type(b.read(), "bytes | None")
        for each in b:
            assert_type(each, bytes)


def files() -> None:
    with tempfile.NamedTemporaryFile() as temporary:
        with qio.open_file(temporary.name, "rw") as file:
            assert_type(file, qio.FileChannel)
            file.write_all(b"hello\n")
            assert_type(file.seek(0), int)
            assert_type(file.pread(5, 0), bytes)
            with file.makefile("r", encoding="utf-8") as text:
                for line in text:
                    print(line, end="")
    memory = qio.buffer(b"bytes")
    assert_type(memory, qio.BufferChannel)
    assert_type(memory.getvalue(), bytes)
    assert_type(qio.null(), qio.NullChannel)


def commands() -> None:
    with qio.command(["cat", os.devnull], env={"PATH": os.environ["PATH"]}, stderr="pipe") as cat:
        assert_type(cat, qio.CommandChannel)
        assert_type(cat.stderr, "qio.Channel | None")
        assert_type(cat.wait_exit(timeout=5), int)
        assert_type(cat.returncode, "int | None")
        assert_type(cat.pid, int)
        if cat.stderr is not None:
            cat.stderr.close()


def descriptors() -> None:
    left, right = socket.socketpair()
    with qio.from_socket(left) as a, qio.from_fd(right.detach()) as b:
        assert_type(a, qio.SocketChannel)
        assert_type(b, qio.Channel)
        with open(os.devnull, "rb") as file:
            a.send_fds(b"x", [file, file.fileno()])
        received = b.recv_fds(1)
        assert received is not None
        data, fds = received
        assert_type(data, bytes)
        assert_type(fds, list[qio.Fd])
        for fd in fds:
            with fd:
                assert_type(fd.fileno(), int)


def credentials() -> tuple[qio.TLSCreds, qio.TLSCreds]:
    def lookup(user: str) -> bytes | None:
        return b"correct horse" if user == "me" else None

    def authorize(channel: qio.Channel, identity: str) -> bool:
        return True

    server = qio.TLSCreds.psk(lookup=lookup, server=True, authorize=authorize)
    return server, qio.TLSCreds.psk(user="me", key=b"correct horse")


def serve(listener: qio.Listener) -> None:
    for channel in listener.clients(timeout=5):
        assert_type(channel, qio.Channel)
        with channel:
            if isinstance(channel, qio.WebSocketChannel):
                assert_type(channel.request.path, "str | None")
                message = channel.recv(timeout=5)
                assert_type(message, "str | bytes | None")
                if message is not None:
                    channel.send(message)


def layers() -> None:
    server, client = credentials()

    def on_request(channel: qio.WebSocketChannel) -> str | None:
        return channel.request.protocols[0] if channel.request.protocols else None

    with qio.listen("ws+tls+tcp://127.0.0.1:0", tls=server, ws_mode="messages",
                    on_request=on_request) as listener:
        assert_type(listener.address, str)
        assert_type(listener.port, "int | None")
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        with qio.connect(listener.address, tls=client, ws_mode="messages", timeout=5) as ws:
            assert_type(ws, qio.WebSocketChannel)
            ws.send("hello")
            assert_type(ws.recv(), "str | bytes | None")
            assert ws.tls is not None
            assert_type(ws.tls.version, "str | None")
            assert_type(ws.tls.peer_chain, tuple[bytes, ...])
            ws.close(1000, "done")
        listener.close()
        thread.join()
    with qio.connect("null:", timeout=qio.Deadline(1)) as channel:
        assert_type(channel, qio.Channel)


def upgrades(creds: tuple[qio.TLSCreds, qio.TLSCreds]) -> None:
    a, b = qio.pair()
    with a, b:
        server = a.start_tls(creds[0], server=True, handshake=False)
        client = b.start_tls(creds[1], handshake=False)
        assert_type(server, qio.TLSChannel)
        thread = threading.Thread(target=server.handshake)
        thread.start()
        client.handshake(timeout=5)
        thread.join()
        client.rekey()
        assert_type(client.transport, "qio.Channel | None")
        server.close()
        client.close()


def loops() -> None:
    def ready(channel: qio.Channel, condition: qio.Cond) -> bool:
        print(channel.read_some())
        loop.quit()
        return False

    def filter(direction: int, data: bytes) -> bytes | None:
        return data.upper() if direction == 0 else None

    def done(relay: qio.Relay) -> None:
        assert_type(relay.result(), "qio.Counts | None")
        loop.quit()

    a, b = qio.pair()
    c, d = qio.pair()
    with a, b, c, d, qio.Loop() as loop:
        assert_type(loop.watch(b, qio.IN, ready), qio.Watch)
        timer = loop.add_timer(60, loop.quit, every=1.5)
        loop.defer(lambda: print(a.write(b"x")))
        loop.run()
        timer.remove()
        relay = loop.relay(b, c, filter=filter, on_done=done, limit=100)
        a.send_eof()
        d.send_eof()
        loop.run()
        assert_type(relay.counts.a_to_b, int)
        assert_type(loop.run_once(timeout=0), int)


def errors() -> Iterator[str]:
    try:
        qio.connect("unix:/no/such/socket", timeout=5)
    except qio.FileNotFoundError as error:
        assert_type(error.code, int)
        assert_type(error.errno, int)
        yield "not found"
    try:
        qio.buffer(b"abc").read_exactly(4)
    except qio.IncompleteReadError as error:
        assert_type(error.partial, bytes)
        assert_type(error.expected, int)
        yield "incomplete"
    except (qio.TimeoutError, qio.ClosedError, qio.BusyError) as error:
        assert_type(error.bytes_written, int)
    except qio.WebSocketError as error:
        assert_type(error.close_code, int)


def mistakes(channel: qio.Channel, loop: qio.Loop) -> None:
    """Not run: each line is wrong."""
    channel.write("text")                                   # type: ignore[arg-type]
    channel.shutdown("sideways")                            # type: ignore[arg-type]
    channel.read_exactly()                                  # type: ignore[call-arg]
    channel.readinto(b"constant")                           # type: ignore[arg-type]
    channel.no_such_method()                                # type: ignore[attr-defined]
    channel.recv()                                          # type: ignore[attr-defined]
    len(channel.read(1))                                    # type: ignore[arg-type]
    channel.settimeout("5")                                 # type: ignore[arg-type]
    channel.start_tls(object())                             # type: ignore[arg-type]
    loop.add_timer("soon", loop.quit)                       # type: ignore[arg-type]
    loop.watch(channel, qio.IN, lambda channel: True)       # type: ignore[arg-type, misc]
    qio.relay(channel, channel, filter=len)                 # type: ignore[arg-type]
    qio.connect("null:", tls=object())                      # type: ignore[call-overload]
    qio.open_file("path", permissions="rw")                 # type: ignore[arg-type]
    qio.TLSCreds.psk(key="text")                            # type: ignore[arg-type]
    qio.no_such_function()                                  # type: ignore[attr-defined]


async def awaited() -> None:
    a, b = (qio.aio.AsyncChannel(channel) for channel in qio.pair())
    assert_type(a, qio.aio.AsyncChannel)
    async with a, b:
        assert_type(await a.write(b"one\ntwo\nrest"), int)
        assert_type(await b.readline(), bytes)
        assert_type(await b.read_until([b"\n", b"\r"]), bytes)
        assert_type(await b.readinto(bytearray(1)), int)
        assert_type(await b.read_exactly(1), bytes)
        task = asyncio.create_task(b.read_some())
        assert_type(task, "asyncio.Task[bytes]")
        assert_type(await task, bytes)
        assert_type(await a.wait("out"), qio.Cond)
        assert_type(await a.send_fds(b"x", [0]), int)
        data, fds = await b.recv_fds(1)
        assert_type(fds, "list[qio.Fd]")
        fds[0].close()
    async with await qio.aio.start_server(shout, "tcp://127.0.0.1:0") as server:
        assert_type(server.port, "int | None")
        reader, writer = await qio.aio.open_streams(server.address)
        assert_type(reader, asyncio.StreamReader)
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()


async def shout(channel: qio.aio.AsyncChannel) -> None:
    async for line in channel:
        await channel.write(line.upper())


async def awaited_mistakes(channel: qio.aio.AsyncChannel) -> None:
    await channel.read_some("5")                            # type: ignore[arg-type]
    await channel.write("text")                             # type: ignore[arg-type]
    await channel.readline(timeout=5)                        # type: ignore[call-arg]
    await qio.aio.start_server(len, "unix:")                # type: ignore[arg-type]


if __name__ == "__main__":
    streams()
    asyncio.run(awaited())
    files()
    commands()
    descriptors()
    layers()
    upgrades(credentials())
    loops()
    assert list(errors()) == ["not found", "incomplete"]
