/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/websock-floor.c: the least that a WebSocket echo takes, in C, on one thread over a
 * stream pair.
 *
 * Owns: one masked frame there, one plain frame back: a header, masking, unmasking, two writes,
 * two reads.  No handshake, no checks, no loop.  Linked into bench-websocket, and a shared library
 * that Python loads.
 */
#include "websock-floor.h"

#include <string.h>
#include <unistd.h>

static unsigned char frame[FLOOR_MAX + 16], copy[FLOOR_MAX + 16];

static void mask(unsigned char *data, size_t len, uint32_t key)
{
    uint64_t wide = key | (uint64_t)key << 32, word;
    size_t i;

    for (i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= wide;
        memcpy(data + i, &word, 8);
    }
    for (; i < len; i++) {
        data[i] ^= (unsigned char)(key >> 8 * (i % 4));
    }
}

static size_t put_header(unsigned char *p, size_t len, unsigned masked)
{
    size_t i, head = 2;

    p[0] = 0x82;
    if (len < 126) {
        p[1] = (unsigned char)len;
    } else if (len < 65536) {
        p[1] = 126;
        p[2] = (unsigned char)(len >> 8);
        p[3] = (unsigned char)len;
        head = 4;
    } else {
        p[1] = 127;
        for (i = 0; i < 8; i++) {
            p[2 + i] = (unsigned char)((uint64_t)len >> (56 - 8 * i));
        }
        head = 10;
    }
    p[1] |= (unsigned char)(masked << 7);
    return head;
}

static int move(int from, int to, size_t len)
{
    size_t sent = 0, got = 0;

    while (got < len) {
        ssize_t ret = sent < len ? write(from, frame + sent, len - sent) : 0;

        if (ret < 0) {
            return -1;
        }
        sent += (size_t)ret;
        ret = read(to, copy + got, sent - got);
        if (ret <= 0) {
            return -1;
        }
        got += (size_t)ret;
    }
    return 0;
}

int64_t floor_ws_echo(int client, int server, int size, int64_t n)
{
    const uint32_t key = 0x78563412;
    size_t len = (size_t)size, head;
    int64_t i;

    for (i = 0; i < n; i++) {
        head = put_header(frame, len, 1);
        memcpy(frame + head, &key, 4);
        mask(frame + head + 4, len, key);
        if (move(client, server, head + 4 + len) < 0) {
            break;
        }
        mask(copy + head + 4, len, key);
        memcpy(frame + put_header(frame, len, 0), copy + head + 4, len);
        if (move(server, client, head + len) < 0) {
            break;
        }
    }
    return i;
}
