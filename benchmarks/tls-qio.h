/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls-qio.h: the same as tls-raw.h through libqio's channels.
 *
 * Owns: the credentials, made once.  Both ends are in one thread, in non-blocking mode; what is
 * agreed is what tls-raw.h says, tickets off too.  Any failure ends the program.
 */
#ifndef TLS_QIO_H
#define TLS_QIO_H

#include <stdbool.h>
#include <stdint.h>
#include <qio/qio.h>

typedef struct QioPair {
    QIOChannel *end[2];     /* client, server */
} QioPair;

void qio_side_open(QioPair *pair, bool psk);
void qio_side_close(QioPair *pair);
void qio_side_bulk(void *pair, uint64_t n);
void qio_side_pingpong(void *pair, uint64_t n);
void qio_side_handshakes(void *psk, uint64_t n);

#endif
