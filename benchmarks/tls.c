/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/tls.c: what the TLS layer costs over GnuTLS alone, on a unix pair.
 *
 * Owns the cases: 16 KiB records, 64 B ping-pong, handshakes with a certificate and with a PSK.
 * At least 0.95 of the floor's rate is at most 1.053 times its time.
 */
#include "bench.h"
#include "tls-qio.h"
#include "tls-raw.h"

#define RATE_95 1.053

static void compare_data(void)
{
    RawPair raw;
    QioPair pair;

    raw_open(&raw, false);
    qio_side_open(&pair, false);
    bench_compare("TLS: 16 KiB records, AES-128-GCM / GnuTLS alone", qio_side_bulk, &pair,
                  raw_bulk, &raw, RATE_95);
    bench_compare("TLS: 64 B ping-pong / GnuTLS alone", qio_side_pingpong, &pair, raw_pingpong,
                  &raw, 0);
    qio_side_close(&pair);
    raw_close(&raw);
}

static void compare_handshakes(void)
{
    bool no = false, yes = true;

    bench_compare("TLS: handshake, ECDSA P-256 / GnuTLS alone", qio_side_handshakes, &no,
                  raw_handshakes, &no, RATE_95);
    bench_compare("TLS: handshake, PSK / GnuTLS alone", qio_side_handshakes, &yes,
                  raw_handshakes, &yes, RATE_95);
}

int main(void)
{
    compare_data();
    compare_handshakes();
    return 0;
}
