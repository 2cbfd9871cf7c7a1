# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS records of 16 KiB over a unix pair: Python's readinto and write against the same in C.

Both ends are in this thread, AES-128-GCM; the certificate comes from tls-raw.c.  The floor, libqio
from C, is loaded from tls-floor.so; slices alternate.  At least 0.95 of its rate is at most 1.053
times its time.  Output: the lines of bench.h.
"""

import ctypes
import os
import sys
import threading
import time

import qio

RECORD = 16384
PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:-GROUP-ALL:+GROUP-X25519'
ROUNDS = int(os.environ.get('BENCH_ROUNDS', 200))


class Datum(ctypes.Structure):
    _fields_ = [('data', ctypes.c_void_p), ('size', ctypes.c_uint)]

    def __bytes__(self):
        return ctypes.string_at(self.data, self.size)


class Material(ctypes.Structure):
    _fields_ = [('ca', Datum), ('cert', Datum), ('key', Datum), ('psk', ctypes.c_char * 32)]


class InC:
    """A pair of libqio's or of GnuTLS's, by the prefix of its functions."""

    def __init__(self, lib, prefix):
        self.pair = ctypes.create_string_buffer(64)         # of either kind
        getattr(lib, prefix + '_open')(self.pair, ctypes.c_bool(False))
        self.bulk = getattr(lib, prefix + '_bulk')
        self.bulk.argtypes = [ctypes.c_void_p, ctypes.c_uint64]

    def run(self, n):
        self.bulk(self.pair, n)


class InPython:
    def __init__(self, lib):
        lib.raw_material.restype = ctypes.POINTER(Material)
        made = lib.raw_material().contents
        client = qio.TLSCreds.x509(ca=bytes(made.ca), priority=PRIORITY)
        server = qio.TLSCreds.x509(cert=bytes(made.cert), key=bytes(made.key), server=True,
                                   verify=False, priority=PRIORITY)
        pair, ends = qio.pair(), []
        thread = threading.Thread(target=lambda: ends.append(
            pair[1].start_tls(server, server=True, tls_resume=False)))
        thread.start()
        self.client = pair[0].start_tls(client, hostname='localhost', tls_resume=False)
        thread.join()
        self.server = ends[0]

    def run(self, n):
        write, readinto = self.client.write, self.server.readinto
        out, view = bytes(RECORD), memoryview(bytearray(RECORD))
        for _ in range(n):
            write(out)
            got = readinto(view)
            while got < RECORD:
                got += readinto(view[got:])


def slice_ns(case, n):
    start = time.thread_time_ns()
    case.run(n)
    return (time.thread_time_ns() - start) / n


def count(case):
    n = 1
    while slice_ns(case, n) * n < 2e6:
        n *= 2
    return n


def compare(name, case, floor, goal):
    n, floor_n = count(case), count(floor)
    best = floor_best = float('inf')
    for _ in range(ROUNDS):
        best = min(best, slice_ns(case, n))
        floor_best = min(floor_best, slice_ns(floor, floor_n))
    print(f'{name}\t{best:.1f}\t{floor_best:.1f}\t{best / floor_best:.3f}\t{goal}', flush=True)


def main():
    lib = ctypes.CDLL(sys.argv[1])
    ours = InPython(lib)
    compare('TLS: 16 KiB records, Python readinto / libqio in C', ours, InC(lib, 'qio_side'), 1.053)
    compare('TLS: 16 KiB records, Python readinto / GnuTLS alone', ours, InC(lib, 'raw'), 0)


main()
