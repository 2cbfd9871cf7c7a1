/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/custom-call.c: calling an op of a custom channel, and checking what it returns.
 *
 * Owns: the way from the channel's class to the caller's functions and back.  Rules: nothing that
 * an op returns is believed: a count is at most what was asked for, a failure is one of the codes,
 * a descriptor is one; a failure comes up with the op's own code, message, errno and number, and
 * what breaks the rules becomes CALLBACK with a message that names the op.  Any thread.
 */
#include "abi/custom.h"
#include "abi/fdset.h"
#include "abi/release.h"

#include <string.h>

/* ---- failures ---- */

/* The op's text, if it is one. */
static const char *text_of(const qioh_error *error)
{
    size_t len = strnlen(error->message, sizeof(error->message));
    bool good = len > 0 && len < sizeof(error->message) &&
                g_utf8_validate(error->message, (gssize)len, NULL);

    return good ? error->message : NULL;
}

static int broke_rules(const char *op, int64_t result, const char *rule, Error **errp)
{
    qio_error_set(errp, QIO_ERROR_CALLBACK, "op %s of a custom channel returned %lld: %s", op,
                  (long long)result, rule);
    return -1;
}

/* Moves the failure `result` of an op to errp. */
static int failed(const char *op, int64_t result, const qioh_error *error, Error **errp)
{
    const char *text = text_of(error);
    bool known = error->domain >= QIOH_DOMAIN_LIBRARY && error->domain <= QIOH_DOMAIN_EXIT;
    QIOErrorDomain domain = known ? (QIOErrorDomain)error->domain : QIO_ERROR_DOMAIN_LIBRARY;
    int64_t number = known ? error->number : 0;

    if (result < QIOH_E_TLS_TRUNCATED) {
        return broke_rules(op, result, "that is no result and none of QIOH_E_*", errp);
    }
    if (result == QIOH_E_AGAIN || result == QIOH_E_INTR) {
        return broke_rules(op, result, "there is nothing that it could wait for", errp);
    }
    if (result == QIOH_E_SYSTEM && error->sys_errno > 0) {
        domain = QIO_ERROR_DOMAIN_ERRNO;
        number = error->sys_errno;
    }
    if (text) {
        qio_error_set_number(errp, (QIOErrorCode)result, domain, number, "%s", text);
    } else {
        qio_error_set_number(errp, (QIOErrorCode)result, domain, number, "op %s of a custom "
                             "channel failed with %s and left no message", op,
                             qioh_status_name((int32_t)result));
    }
    return -1;
}

static int unsupported(const char *op, Error **errp)
{
    qio_error_set(errp, QIO_ERROR_NOTSUP, "this custom channel has no op %s", op);
    return -1;
}

/* ---- around each call ---- */

/* The calls of ops that a thread is in, the innermost first. */
typedef struct Call {
    AbiCustom *custom;
    AbiScope *scope;
    struct Call *outer;
    qioh_error error;
} Call;

bool abi_custom_calls(AbiCustom *custom)
{
    const Call *call = abi_scope()->innermost;

    while (call && call->custom != custom) {
        call = call->outer;
    }
    return call != NULL;
}

/* Counted as inside, but for close, which is called when nobody is. */
ABI_INLINE int begin(AbiCustom *custom, bool enter, Call *call, Error **errp)
{
    if (G_UNLIKELY(custom->epoch != qio_fork_epoch())) {
        qio_error_set(errp, QIO_ERROR_FORKED, "the channel belongs to the parent process");
        return -1;
    }
    if (enter && qio_channel_enter(&custom->parent, QIO_USE_ONE, errp) < 0) {
        return -1;
    }
    memset(&call->error, 0, offsetof(qioh_error, message) + 1);
    call->error.struct_size = sizeof(call->error);
    call->custom = custom;
    call->scope = abi_scope();
    call->outer = call->scope->innermost;
    call->scope->innermost = call;
    abi_scope_begin(call->scope);
    return 0;
}

ABI_INLINE void end(const Call *call, bool entered)
{
    AbiCustom *custom = call->custom;

    call->scope->innermost = call->outer;
    abi_scope_end(call->scope);
    if (entered) {
        qio_channel_leave(&custom->parent, QIO_USE_ONE, NULL);
    }
}

/* What a transfer of `total` bytes gave. */
static ssize_t transferred(const char *op, int64_t n, ssize_t total, const qioh_error *error,
                           Error **errp)
{
    if (n == QIOH_E_AGAIN) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    if (n < 0) {
        return failed(op, n, error, errp);
    }
    if (n > total) {
        qio_error_set(errp, QIO_ERROR_CALLBACK, "op %s of a custom channel returned %lld for a "
                      "request of %zd bytes", op, (long long)n, total);
        return -1;
    }
    return (ssize_t)n;
}

/* ---- transfers ---- */

ssize_t abi_custom_call_readv(AbiCustom *custom, const struct iovec *iov, size_t niov, int **fds,
                              size_t *nfds, Error **errp)
{
    ssize_t n, total = qio_iov_length(iov, niov, errp);
    qioh_fdset *set = NULL;
    int64_t result;
    Call call;

    if (!custom->ops.readv) {
        return unsupported("readv", errp);
    }
    if (total < 0 || begin(custom, true, &call, errp) < 0) {
        return -1;
    }
    if (G_UNLIKELY(fds) && !(set = qioh_fdset_new(&call.error))) {
        result = call.error.code;
    } else {
        result = custom->ops.readv(custom->user_data, (const qioh_iovec *)iov, niov, 0, set,
                                   &call.error);
    }
    n = transferred("readv", result, total, &call.error, errp);
    if (G_UNLIKELY(set)) {
        if (n > 0) {
            abi_fdset_take_all(set, fds, nfds);
        }
        qioh_fdset_unref(set);
    }
    end(&call, true);
    return n;
}

/* Copies of the caller's descriptors, which the op may take out. */
static qioh_fdset *set_of(const int *fds, size_t nfds, qioh_error *error)
{
    qioh_fdset *set = qioh_fdset_new(error);

    for (size_t i = 0; set && i < nfds; i++) {
        if (qioh_fdset_add(set, fds[i], error) < 0) {
            qioh_fdset_unref(set);
            set = NULL;
        }
    }
    return set;
}

ssize_t abi_custom_call_writev(AbiCustom *custom, const struct iovec *iov, size_t niov,
                               const int *fds, size_t nfds, Error **errp)
{
    ssize_t n, total = qio_iov_length(iov, niov, errp);
    qioh_fdset *set = NULL;
    int64_t result;
    Call call;

    if (!custom->ops.writev) {
        return unsupported("writev", errp);
    }
    if (total < 0 || begin(custom, true, &call, errp) < 0) {
        return -1;
    }
    if (G_UNLIKELY(nfds > 0) && !(set = set_of(fds, nfds, &call.error))) {
        result = call.error.code;
    } else {
        result = custom->ops.writev(custom->user_data, (const qioh_iovec *)iov, niov, 0, set,
                                    &call.error);
    }
    n = transferred("writev", result, total, &call.error, errp);
    if (G_UNLIKELY(n == 0 && total > 0)) {
        n = broke_rules("writev", 0, "one that accepts nothing answers QIOH_E_AGAIN", errp);
    }
    if (G_UNLIKELY(set)) {
        qioh_fdset_unref(set);
    }
    end(&call, true);
    return n;
}

/* ---- the rest ---- */

/* What an op gave that has no count to tell. */
static int done(const char *op, int32_t result, const qioh_error *error, Error **errp)
{
    if (result == 0) {
        return 0;
    }
    if (result > 0) {
        return broke_rules(op, result, "success is 0", errp);
    }
    return failed(op, result, error, errp);
}

int abi_custom_call_close(AbiCustom *custom, Error **errp)
{
    Call call;
    int ret;

    /* A forked child sends nothing in its parent's name. */
    if (!custom->ops.close || custom->epoch != qio_fork_epoch()) {
        return 0;
    }
    if (begin(custom, false, &call, errp) < 0) {
        return -1;
    }
    ret = done("close", custom->ops.close(custom->user_data, &call.error), &call.error, errp);
    end(&call, false);
    return ret;
}

int abi_custom_call_shutdown(AbiCustom *custom, uint32_t how, Error **errp)
{
    Call call;
    int ret;

    if (!custom->ops.shutdown) {
        return unsupported("shutdown", errp);
    }
    if (begin(custom, true, &call, errp) < 0) {
        return -1;
    }
    ret = done("shutdown", custom->ops.shutdown(custom->user_data, how, &call.error),
               &call.error, errp);
    end(&call, true);
    return ret;
}

int64_t abi_custom_call_seek(AbiCustom *custom, int64_t offset, int whence, Error **errp)
{
    Call call;
    int64_t ret;

    if (!custom->ops.seek) {
        return unsupported("seek", errp);
    }
    if (begin(custom, true, &call, errp) < 0) {
        return -1;
    }
    ret = custom->ops.seek(custom->user_data, offset, whence, &call.error);
    if (ret < 0) {
        ret = failed("seek", ret, &call.error, errp);
    }
    end(&call, true);
    return ret;
}

int abi_custom_call_flush(AbiCustom *custom, Error **errp)
{
    Call call;
    int32_t result;
    int ret;

    if (!custom->ops.flush) {
        return 0;
    }
    if (begin(custom, true, &call, errp) < 0) {
        return -1;
    }
    result = custom->ops.flush(custom->user_data, &call.error);
    ret = result == QIOH_E_AGAIN ? QIO_CHANNEL_ERR_BLOCK : done("flush", result, &call.error, errp);
    end(&call, true);
    return ret;
}

/* Whether what get_poll named can be polled. */
static AbiCustomPoll named(int32_t result, int32_t fd, uint32_t events, QIOPollFd *out,
                           Error **errp)
{
    out->fd = fd;
    out->events = (GIOCondition)(events & (QIOH_IN | QIOH_OUT));
    if (result == 1) {
        return ABI_POLL_READY;
    }
    if (fd < 0) {
        qio_error_set(errp, QIO_ERROR_CALLBACK, "op get_poll of a custom channel returned 0 and "
                      "named the descriptor %d, which is none", fd);
        return ABI_POLL_FAILED;
    }
    if (!out->events) {
        qio_error_set(errp, QIO_ERROR_CALLBACK, "op get_poll of a custom channel returned 0 and "
                      "the events 0x%x: QIOH_IN (1), QIOH_OUT (4) or both are needed", events);
        return ABI_POLL_FAILED;
    }
    return ABI_POLL_FD;
}

AbiCustomPoll abi_custom_call_get_poll(AbiCustom *custom, GIOCondition way, QIOPollFd *out,
                                       Error **errp)
{
    AbiCustomPoll how = ABI_POLL_FAILED;
    int32_t fd = -1, result;
    uint32_t events = 0;
    Call call;

    out->fd = -1;
    if (!custom->ops.get_poll) {
        return ABI_POLL_NOTIFY;
    }
    if (begin(custom, true, &call, errp) < 0) {
        return ABI_POLL_FAILED;
    }
    result = custom->ops.get_poll(custom->user_data, (uint32_t)way, &fd, &events, &call.error);
    if (result == 0 || result == 1) {
        how = named(result, fd, events, out, errp);
    } else if (result == QIOH_E_NOTSUP) {
        how = ABI_POLL_NOTIFY;
    } else if (result > 1) {
        broke_rules("get_poll", result, "1 is ready now, 0 poll the descriptor", errp);
    } else {
        failed("get_poll", result, &call.error, errp);
    }
    end(&call, true);
    return how;
}
