/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/listener.h: from a listener of the core to a handle for it.
 *
 * Owns nothing; the work is in listener.c.  Any thread.
 */
#ifndef QIO_ABI_LISTENER_H
#define QIO_ABI_LISTENER_H

#include <qio/net-listener.h>
#include "abi/error.h"
#include "abi/handle.h"

/* A handle for a listener, whose reference it takes, also on failure. */
qioh_listener *abi_listener_wrap(QIONetListener *object, qioh_error *error);

#endif
