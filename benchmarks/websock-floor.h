/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock-floor.h: see websock-floor.c.
 */
#ifndef WEBSOCK_FLOOR_H
#define WEBSOCK_FLOOR_H

#include <stdint.h>

#define FLOOR_MAX 65536

/* n echoes of len bytes (at most FLOOR_MAX) over two blocking descriptors that are a pair; gives
 * how many went through. */
int64_t floor_ws_echo(int client, int server, int len, int64_t n);

#endif
