/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls-raw.h: TLS 1.3 over a unix pair with GnuTLS alone, the floor of the layer.
 *
 * Owns: a pair of sessions, both ends in one thread, neither ever waiting; the certificate and the
 * keys, made once and kept in memory for both sides of a comparison.  What is agreed is the same in
 * all cases: AES-128-GCM, X25519, an ECDSA P-256 certificate that the client verifies with the name
 * in it, or a PSK; tickets are off.  Any failure ends the program.
 */
#ifndef TLS_RAW_H
#define TLS_RAW_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_RECORD 16384
#define RAW_HOST "localhost"
#define RAW_USER "bench"
#define RAW_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM" \
                     ":-GROUP-ALL:+GROUP-X25519"
#define RAW_PRIORITY_PSK RAW_PRIORITY ":-KX-ALL:+ECDHE-PSK"

typedef struct RawMaterial {
    gnutls_datum_t ca, cert, key;   /* PEM */
    unsigned char psk[32];
} RawMaterial;

typedef struct RawPair {
    gnutls_session_t session[2];    /* client, server */
    int fd[2];
} RawPair;

const RawMaterial *raw_material(void);
/* Handshake included. */
void raw_open(RawPair *pair, bool psk);
void raw_close(RawPair *pair);
void raw_send(RawPair *pair, int end, const void *data, size_t len);
void raw_recv(RawPair *pair, int end, void *data, size_t len);

/* One operation: a record of RAW_RECORD bytes from the client to the server. */
void raw_bulk(void *pair, uint64_t n);
/* One operation: 64 bytes there and back. */
void raw_pingpong(void *pair, uint64_t n);
/* One operation: a pair opened, and closed with close_notify; arg: a bool, PSK. */
void raw_handshakes(void *psk, uint64_t n);

#endif
