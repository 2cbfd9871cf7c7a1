/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/creds.h: from a handle of credentials to the credentials, for who makes channels with them.
 *
 * Owns: nothing.  Rule: whoever keeps the credentials takes a reference on what it gets while the
 * handle is pinned.
 */
#ifndef QIO_ABI_CREDS_H
#define QIO_ABI_CREDS_H

#include <qio/tls-creds.h>
#include "abi/handle.h"

/* Pins; 0, or a code. */
int32_t abi_creds_pin(qioh_creds *creds, QIOTlsCreds **object, qioh_error *error);

#endif
