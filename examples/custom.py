#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A channel written in Python: it passes everything on to another one and keeps what went by.

TLS runs over it as over any channel, so its record shows what a listener on the wire would see.
"""

import threading

import qio


class Recorder(qio.CustomChannel):
    """What goes through `inner` is also in `sent` and `received`."""

    def __init__(self, inner):
        inner.setblocking(False)            # a method may not wait: None says that it would
        self.inner = inner
        self.sent, self.received = bytearray(), bytearray()

    def fileno(self):
        return self.inner.fileno()          # what is ready when this channel is

    def readinto(self, b):
        n = self.inner.readinto(b)
        if n:
            self.received += b[:n]
        return n

    def write(self, b):
        n = self.inner.write(b)
        if n:
            self.sent += b[:n]
        return n

    def shutdown(self, how):
        self.inner.shutdown(how)

    def close(self):
        self.inner.close()


def serve(channel):
    creds = qio.TLSCreds.anon(server=True)
    with channel.start_tls(creds, server=True) as tls:
        tls.write(tls.readline().upper())


def main():
    client, server = qio.pair()
    thread = threading.Thread(target=serve, args=(server,))
    thread.start()
    recorder = Recorder(client)
    with recorder.start_tls(qio.TLSCreds.anon()) as tls:
        tls.write(b"hello from the inside\n")
        print(tls.readline().decode(), end="")
    thread.join()
    seen = bytes(recorder.sent + recorder.received)
    print("the wire has", "the words" if b"inside" in seen.lower() else "TLS records only")


if __name__ == "__main__":
    main()
