/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/channel.h: from a channel's handle to the channel, for the files that use channels.
 *
 * Owns: entering and leaving.  Rule: a call that transfers pins the handle and enters the
 * channel (READ, WRITE: alone in that direction; ONE: with others), so that a close from
 * another thread releases the transport only when the call is out; one that asks only pins.
 */
#ifndef QIO_ABI_CHANNEL_H
#define QIO_ABI_CHANNEL_H

#include <qio/channel.h>
#include "abi/error.h"
#include "abi/handle.h"
#include "channel/channel-priv.h"

#define ABI_CONDITIONS (QIOH_IN | QIOH_MORE | QIOH_OUT | QIOH_ERR | QIOH_HUP)

static inline int32_t abi_channel_pin(qioh_channel *channel, QIOChannel **ioc, qioh_error *error)
{
    return abi_pin(channel, QIOH_KIND_CHANNEL, (void **)ioc, error);
}

/* Pins and enters; 0, or a code (CLOSED, BUSY too).  Always inline: a call more after a system
 * call costs as much as the look-up itself. */
ABI_INLINE int32_t abi_channel_enter(qioh_channel *channel, uint32_t use, QIOChannel **ioc,
                                     qioh_error *error)
{
    Error *err = NULL;
    int32_t status = abi_channel_pin(channel, ioc, error);

    if (G_UNLIKELY(status < 0)) {
        return status;
    }
    if (G_UNLIKELY(qio_channel_enter(*ioc, use, &err) < 0)) {
        abi_unpin(channel);
        return abi_take_error(error, err);
    }
    return 0;
}

static inline void abi_channel_leave(qioh_channel *channel, QIOChannel *ioc, uint32_t use)
{
    qio_channel_leave(ioc, use, NULL);
    abi_unpin(channel);
}

/* A handle for a new channel whose reference it takes, also on failure.  A NULL ioc moves err
 * to error.  Returns: an owned handle, or NULL */
qioh_channel *abi_channel_wrap(QIOChannel *ioc, Error *err, qioh_error *error);

/* Whether the channel is of a class, or one derived from it. */
bool abi_channel_is(QIOChannel *ioc, const char *type_name, GType *cache);

/* One of QIOH_CHANNEL_*. */
int32_t abi_channel_kind(QIOChannel *ioc);

/* Pins a channel of a class, or one derived from it; WRONGTYPE for others. */
int32_t abi_channel_pin_class(qioh_channel *channel, const char *type_name, GType *cache,
                              const char *name, QIOChannel **ioc, qioh_error *error);

/* Lets go of the handle of the channel below that qioh_channel_get_transport() gave out. */
void abi_layer_drop_handle(QIOChannel *ioc);

/* 0, or INVAL: bits that are none of ABI_CONDITIONS, or no bit. */
int32_t abi_check_condition(uint32_t condition, qioh_error *error);
/* 0, or INVAL: below -1. */
int32_t abi_check_timeout(int32_t timeout_ms, qioh_error *error);

#endif
