/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/utf8-wide.h: UTF-8, 32 bytes at a time, where the processor can.
 *
 * Owns the choice, made when the library is loaded.  Pure; any thread.
 */
#ifndef QIO_WEBSOCK_UTF8_WIDE_H
#define QIO_WEBSOCK_UTF8_WIDE_H

#include <stddef.h>
#include <stdint.h>

/*
 * NULL where the processor cannot.  Looks at whole blocks from the start of a character.
 * Returns: how many of the bytes are surely good, up to the end of a character
 */
extern size_t (*qio_ws_utf8_wide)(const uint8_t *bytes, size_t len);

#endif
