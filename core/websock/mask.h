/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/mask.h: the masking of frame payloads (RFC 6455, 5.3).
 *
 * Owns nothing.  Pure; any thread.
 */
#ifndef QIO_WEBSOCK_MASK_H
#define QIO_WEBSOCK_MASK_H

#include <stddef.h>
#include <stdint.h>

/*
 * dst[i] = src[i] ^ key[(offset + i) % 4]; masking and unmasking are the same.  dst may be src,
 * else they do not overlap.
 */
void qio_ws_mask(void *dst, const void *src, size_t len, const uint8_t key[4], uint64_t offset);

#endif
