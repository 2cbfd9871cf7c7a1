/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/queued.h: the class of queued channels by name, for who tells kinds apart.
 *
 * Owns nothing; the class is in queued.c.
 */
#ifndef QIO_ABI_QUEUED_H
#define QIO_ABI_QUEUED_H

#define TYPE_ABI_QUEUED "qio-channel-queued"

#endif
