/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/custom.h: a channel whose members are functions of the caller, for custom*.c.
 *
 * Owns: AbiCustom, the channel, and what a call of an op is checked for.
 * Rules:
 *  - An op is called with no lock of this file's held, inside a scope (abi/release.h) and inside
 *    the channel (QIO_USE_ONE), so that a close from in an op or another thread calls the op
 *    `close` when the others are out.  A layer above may hold its own lock: it answers BUSY.
 *  - At most one readv runs at a time.  Without a descriptor whoever waits for input reads ahead
 *    of the reader, since nothing but reading tells whether a read would block; who comes
 *    meanwhile is told "would block" and woken after.
 *  - `lock` guards what was read so, and is never held while anything is called.
 */
#ifndef QIO_ABI_CUSTOM_H
#define QIO_ABI_CUSTOM_H

#include "abi/channel.h"
#include "abi/loop.h"

#define TYPE_ABI_CUSTOM "qioh-channel-custom"

/* What a waiter has read: delivered by the next reads, in this order. */
typedef struct AbiStage {
    uint8_t *bytes;
    size_t start, end;
    int *fds;                   /* came with the first byte */
    size_t nfds;
    bool ended;                 /* the end, or error, came instead of bytes */
    Error *error;
} AbiStage;

typedef struct AbiCustom {
    QIOChannel parent;
    qioh_channel_ops ops;
    void *user_data;
    AbiLoop *loop;              /* whose dispatch releases and notifies; NULL = none */
    AioContext *notifier;       /* its context, kept */
    uint32_t epoch;             /* the process it was made in */

    _Atomic bool software;      /* the last answer of get_poll: notify alone tells */
    _Atomic uint32_t state;     /* who transfers and who looked, in custom-ready.c's bits */
    _Atomic bool staged;        /* stage holds something */
    _Atomic(Error *) owed;      /* what get_poll failed with, for the next transfer */
    pthread_mutex_t lock;
    AbiStage stage;
} AbiCustom;

/* ---- custom-call.c: one call of an op each, with its result checked ---- */

/* Results: >= 0, -1 with an error (CALLBACK when the op broke its rules), QIO_CHANNEL_ERR_BLOCK.
 * fds, nfds of readv: both NULL, or where the descriptors that came go, as in io_readv. */
ssize_t abi_custom_call_readv(AbiCustom *custom, const struct iovec *iov, size_t niov, int **fds,
                              size_t *nfds, Error **errp);
ssize_t abi_custom_call_writev(AbiCustom *custom, const struct iovec *iov, size_t niov,
                               const int *fds, size_t nfds, Error **errp);
int abi_custom_call_close(AbiCustom *custom, Error **errp);
int abi_custom_call_shutdown(AbiCustom *custom, uint32_t how, Error **errp);
int64_t abi_custom_call_seek(AbiCustom *custom, int64_t offset, int whence, Error **errp);
int abi_custom_call_flush(AbiCustom *custom, Error **errp);

/* How the op says that a direction is waited for. */
typedef enum AbiCustomPoll {
    ABI_POLL_FAILED = -1,
    ABI_POLL_FD,                /* `out` is filled in */
    ABI_POLL_READY,             /* and `out`, if the op named a descriptor all the same */
    ABI_POLL_NOTIFY,            /* there is no descriptor */
} AbiCustomPoll;

AbiCustomPoll abi_custom_call_get_poll(AbiCustom *custom, GIOCondition way, QIOPollFd *out,
                                       Error **errp);

/* Whether this thread is inside an op of the channel. */
bool abi_custom_calls(AbiCustom *custom);

/* ---- custom-ready.c: readiness, and the transfers that know of it ---- */

ssize_t abi_custom_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                         size_t *nfds, Error **errp);
ssize_t abi_custom_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                          size_t nfds, Error **errp);
int abi_custom_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap);
int abi_custom_advance(QIOChannel *ioc, GIOCondition condition);
void abi_custom_notify(AbiCustom *custom, GIOCondition condition);
bool abi_custom_waits_for_itself(QIOChannel *ioc);
/* Forgets what was read for nobody. */
void abi_custom_drop_stage(AbiCustom *custom);

#endif
