/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/channel-state.c: what a channel is and can be told, beside transfers.
 *
 * Owns: waiting, mode, descriptors, names and addresses.  After a close what is known stays
 * readable (kind, name, addresses, mode); what needs the transport gives CLOSED.  In a forked
 * child the descriptor of an inherited channel can still be looked at and taken.
 */
#include "abi/custom.h"
#include "abi/queued.h"
#include "base/sys.h"

#include <string.h>
#include <qio/channel-buffer.h>
#include <qio/channel-command.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>
#include <qio/channel-tls.h>
#include <qio/channel-websock.h>
#include "channel/layer.h"

bool abi_channel_is(QIOChannel *ioc, const char *type_name, GType *cache)
{
    GType type = __atomic_load_n(cache, __ATOMIC_RELAXED);

    if (!type) {
        type = qio_type_lookup(type_name, NULL);
        __atomic_store_n(cache, type, __ATOMIC_RELAXED);
    }
    /* The very class in nearly all cases, on the way of every message of a WebSocket. */
    return G_OBJECT_TYPE(ioc) == type || (type && g_type_is_a(G_OBJECT_TYPE(ioc), type));
}

int32_t abi_channel_pin_class(qioh_channel *channel, const char *type_name, GType *cache,
                              const char *name, QIOChannel **ioc, qioh_error *error)
{
    int32_t status = abi_channel_pin(channel, ioc, error);

    if (status == 0 && !abi_channel_is(*ioc, type_name, cache)) {
        status = abi_fail(error, QIOH_E_WRONGTYPE, "channel: it has to be a %s channel, not one of "
                          "type '%s'", name, G_OBJECT_TYPE_NAME(*ioc));
        abi_unpin(channel);
    }
    return status;
}

int32_t abi_check_condition(uint32_t condition, qioh_error *error)
{
    if (condition == 0 || (condition & ~(uint32_t)ABI_CONDITIONS)) {
        return abi_fail(error, QIOH_E_INVAL, "condition is 0x%x; it is made of QIOH_IN (1), MORE "
                        "(2), OUT (4), ERR (8) and HUP (16)", condition);
    }
    return 0;
}

int32_t abi_check_timeout(int32_t timeout_ms, qioh_error *error)
{
    if (timeout_ms < -1) {
        return abi_fail(error, QIOH_E_INVAL, "timeout_ms is %d; -1 is for ever, 0 a try",
                        timeout_ms);
    }
    return 0;
}

/* The end of a call that entered. */
static int32_t leave_result(qioh_channel *channel, QIOChannel *ioc, int result, Error **err,
                            qioh_error *error)
{
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return result < 0 ? abi_take_error(error, *err) : result;
}

/* The end of a call that only pinned.  err is a pointer, since the result is often a call
 * among the same arguments. */
static int32_t unpin_result(qioh_channel *channel, int result, Error **err, qioh_error *error)
{
    abi_unpin(channel);
    return result < 0 ? abi_take_error(error, *err) : result;
}

/* ---- waiting ---- */

qioh_status qioh_channel_wait(qioh_channel *channel, uint32_t condition, int32_t timeout_ms,
                              qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int ready;
    int32_t status = abi_check_condition(condition, error);

    if (status == 0) {
        status = abi_check_timeout(timeout_ms, error);
    }
    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    ready = qio_channel_wait_timeout(ioc, condition, timeout_ms, &err);
    return leave_result(channel, ioc, ready, &err, error);
}

qioh_status qioh_channel_get_poll(qioh_channel *channel, uint32_t condition, int32_t *fd,
                                  uint32_t *events, qioh_error *error)
{
    QIOPollFd poll = { .fd = -1 };
    Error *err = NULL;
    QIOChannel *ioc;
    int ready;
    int32_t status = abi_check_condition(condition, error);

    if (status != 0) {
        return status;
    }
    if (!fd || !events) {
        return abi_fail(error, QIOH_E_INVAL, "%s is NULL", fd ? "events" : "fd");
    }
    status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);
    if (status != 0) {
        return status;
    }
    ready = qio_channel_get_poll(ioc, condition, &poll, &err);
    if (ready == 0) {
        *fd = poll.fd;
        *events = poll.events;
    }
    return leave_result(channel, ioc, ready, &err, error);
}

/* ---- mode ---- */

qioh_status qioh_channel_set_blocking(qioh_channel *channel, int32_t enabled, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int32_t status = abi_channel_pin(channel, &ioc, error);

    if (status != 0) {
        return status;
    }
    return unpin_result(channel, qio_channel_set_blocking(ioc, enabled != 0, &err), &err, error);
}

qioh_status qioh_channel_get_blocking(qioh_channel *channel, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_channel_pin(channel, &ioc, error);

    if (status != 0) {
        return status;
    }
    return unpin_result(channel, qio_channel_get_blocking(ioc), NULL, NULL);
}

qioh_status qioh_channel_set_timeout(qioh_channel *channel, int32_t timeout_ms,
                                     qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_check_timeout(timeout_ms, error);

    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    qio_channel_set_timeout(ioc, timeout_ms);
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return 0;
}

qioh_status qioh_channel_get_timeout(qioh_channel *channel, int32_t *timeout_ms,
                                     qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status;

    if (!timeout_ms) {
        return abi_fail(error, QIOH_E_INVAL, "timeout_ms is NULL");
    }
    status = abi_channel_pin(channel, &ioc, error);
    if (status != 0) {
        return status;
    }
    *timeout_ms = qio_channel_get_timeout(ioc);
    abi_unpin(channel);
    return 0;
}

qioh_status qioh_channel_shutdown(qioh_channel *channel, uint32_t how, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int32_t status;

    if (how > QIOH_SHUTDOWN_WRITE) {
        return abi_fail(error, QIOH_E_INVAL, "how is %u; both is 0, read 1, write 2", how);
    }
    status = abi_channel_pin(channel, &ioc, error);
    if (status != 0) {
        return status;
    }
    return unpin_result(channel, qio_channel_shutdown(ioc, how, &err), &err, error);
}

qioh_status qioh_channel_set_delay(qioh_channel *channel, int32_t enabled, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);

    if (status != 0) {
        return status;
    }
    qio_channel_set_delay(ioc, enabled != 0);
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return 0;
}

qioh_status qioh_channel_set_cork(qioh_channel *channel, int32_t enabled, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);

    if (status != 0) {
        return status;
    }
    qio_channel_set_cork(ioc, enabled != 0);
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return 0;
}

/* Seeking drops or moves what is read ahead, and writers depend on the position. */
int64_t qioh_channel_seek(qioh_channel *channel, int64_t offset, int32_t whence,
                          qioh_error *error)
{
    const uint32_t use = QIO_USE_READ | QIO_USE_WRITE;
    Error *err = NULL;
    QIOChannel *ioc;
    off_t position;
    int32_t status = abi_channel_enter(channel, use, &ioc, error);

    if (status != 0) {
        return status;
    }
    position = qio_channel_io_seek(ioc, offset, whence, &err);
    abi_channel_leave(channel, ioc, use);
    return position < 0 ? abi_take_error(error, err) : position;
}

int64_t qioh_channel_get_size(qioh_channel *channel, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    off_t size;
    int32_t status = abi_channel_pin(channel, &ioc, error);

    if (status != 0) {
        return status;
    }
    size = qio_channel_get_size(ioc, &err);
    abi_unpin(channel);
    return size < 0 ? abi_take_error(error, err) : size;
}

qioh_status qioh_channel_has_feature(qioh_channel *channel, uint32_t feature, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status;

    if (feature > QIOH_FEATURE_LISTEN) {
        return abi_fail(error, QIOH_E_INVAL, "feature is %u; FD_PASS is 0, SHUTDOWN 1, LISTEN 2",
                        feature);
    }
    status = abi_channel_pin(channel, &ioc, error);
    if (status != 0) {
        return status;
    }
    return unpin_result(channel, qio_channel_has_feature(ioc, feature), NULL, NULL);
}

/* ---- what it is ---- */

int32_t abi_channel_kind(QIOChannel *ioc)
{
    static struct {
        const char *type_name;
        int32_t kind;
        GType cache;
    } classes[] = {
        { TYPE_QIO_CHANNEL_SOCKET, QIOH_CHANNEL_SOCKET, 0 },
        { TYPE_QIO_CHANNEL_FILE, QIOH_CHANNEL_FILE, 0 },
        { TYPE_QIO_CHANNEL_COMMAND, QIOH_CHANNEL_COMMAND, 0 },
        { TYPE_QIO_CHANNEL_BUFFER, QIOH_CHANNEL_BUFFER, 0 },
        { TYPE_QIO_CHANNEL_NULL, QIOH_CHANNEL_NULL, 0 },
        { TYPE_QIO_CHANNEL_TLS, QIOH_CHANNEL_TLS, 0 },
        { TYPE_QIO_CHANNEL_WEBSOCK, QIOH_CHANNEL_WEBSOCKET, 0 },
        { TYPE_ABI_CUSTOM, QIOH_CHANNEL_CUSTOM, 0 },
        { TYPE_ABI_QUEUED, QIOH_CHANNEL_QUEUED, 0 },
    };
    int32_t kind = QIOH_CHANNEL_OTHER;

    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (abi_channel_is(ioc, classes[i].type_name, &classes[i].cache)) {
            kind = classes[i].kind;
        }
    }
    return kind;
}

qioh_status qioh_channel_get_kind(qioh_channel *channel, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t kind = abi_channel_pin(channel, &ioc, error);

    if (kind == 0) {
        kind = abi_channel_kind(ioc);
        abi_unpin(channel);
    }
    return kind;
}

qioh_status qioh_channel_set_name(qioh_channel *channel, const char *name, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_channel_pin(channel, &ioc, error);

    if (status != 0) {
        return status;
    }
    qio_channel_set_name(ioc, name);
    abi_unpin(channel);
    return 0;
}

qioh_ssize qioh_channel_get_name(qioh_channel *channel, char *buf, size_t cap,
                                 qioh_error *error)
{
    const char *name;
    QIOChannel *ioc;
    qioh_ssize len = abi_channel_pin(channel, &ioc, error);

    if (len < 0) {
        return len;
    }
    pthread_mutex_lock(&qio_channel_priv(ioc)->lock);
    name = ioc->name ? ioc->name : "";
    len = abi_copy_out(name, strlen(name), buf, cap, error);
    pthread_mutex_unlock(&qio_channel_priv(ioc)->lock);
    abi_unpin(channel);
    return len;
}

/* ---- addresses ---- */

/* The socket that carries a channel, under all its layers, with a reference; NULL with NOTSUP when
 * it is another kind of channel. */
static QIOChannelSocket *socket_of(QIOChannel *ioc, const char *what, Error **errp)
{
    static GType socket_type;
    QIOChannel *below = g_object_ref(ioc);

    while (below && !abi_channel_is(below, TYPE_QIO_CHANNEL_SOCKET, &socket_type)) {
        QIOChannel *layer = below;

        below = qio_layer_ref_below(layer);
        if (!below) {
            qio_error_set(errp, QIO_ERROR_NOTSUP, "a channel of type '%s' has no %s",
                          G_OBJECT_TYPE_NAME(layer), what);
        }
        g_object_unref(layer);
    }
    return (QIOChannelSocket *)below;
}

static QIOAddress *address_of(QIOChannel *ioc, bool remote, Error **errp)
{
    QIOChannelSocket *sioc = socket_of(ioc, "address", errp);
    QIOAddress *address;

    if (!sioc) {
        return NULL;
    }
    address = remote ? qio_channel_socket_get_remote_address(sioc, errp)
                     : qio_channel_socket_get_local_address(sioc, errp);
    g_object_unref(sioc);
    return address;
}

static qioh_ssize copy_address(qioh_channel *channel, bool remote, char *buf, size_t cap,
                               qioh_error *error)
{
    QIOAddress *address;
    Error *err = NULL;
    QIOChannel *ioc;
    qioh_ssize len = abi_channel_pin(channel, &ioc, error);

    if (len < 0) {
        return len;
    }
    address = address_of(ioc, remote, &err);
    abi_unpin(channel);
    return abi_copy_address(address, err, buf, cap, error);
}

qioh_ssize qioh_channel_get_local_address(qioh_channel *channel, char *buf, size_t cap,
                                          qioh_error *error)
{
    return copy_address(channel, false, buf, cap, error);
}

qioh_ssize qioh_channel_get_peer_address(qioh_channel *channel, char *buf, size_t cap,
                                         qioh_error *error)
{
    return copy_address(channel, true, buf, cap, error);
}

qioh_status qioh_channel_get_peer_cred(qioh_channel *channel, int32_t *pid, uint32_t *uid,
                                       uint32_t *gid, qioh_error *error)
{
    QIOChannelSocket *sioc;
    Error *err = NULL;
    QIOChannel *ioc;
    pid_t peer_pid;
    uid_t peer_uid;
    gid_t peer_gid;
    int result = -1;
    int32_t status;

    if (!pid || !uid || !gid) {
        return abi_fail(error, QIOH_E_INVAL, "%s is NULL", !pid ? "pid" : !uid ? "uid" : "gid");
    }
    status = abi_channel_pin(channel, &ioc, error);
    if (status != 0) {
        return status;
    }
    sioc = socket_of(ioc, "peer to ask for", &err);
    if (sioc) {
        result = qio_channel_socket_get_peer_cred(sioc, &peer_pid, &peer_uid, &peer_gid, &err);
        g_object_unref(sioc);
    }
    if (result == 0) {
        *pid = peer_pid;
        *uid = peer_uid;
        *gid = peer_gid;
    }
    return unpin_result(channel, result, &err, error);
}

/* ---- descriptors ---- */

/* Pins also what a forked child inherited. */
static int32_t pin_any_process(qioh_channel *channel, QIOChannel **ioc, bool *forked,
                               qioh_error *error)
{
    AbiSlot *slot = abi_try_pin(channel, QIOH_KIND_CHANNEL);

    if (!slot) {
        return abi_pin_failed(channel, QIOH_KIND_CHANNEL, error);
    }
    *ioc = atomic_load(&slot->object);
    *forked = atomic_load(&slot->epoch) != qio_fork_epoch();
    return 0;
}

qioh_status qioh_channel_get_fd(qioh_channel *channel, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    bool forked;
    int fd;
    int32_t status = pin_any_process(channel, &ioc, &forked, error);

    if (status != 0) {
        return status;
    }
    /* In a child the threads that were inside are not there any more. */
    if (!forked && qio_channel_enter(ioc, QIO_USE_ONE, &err) < 0) {
        return unpin_result(channel, -1, &err, error);
    }
    fd = qio_channel_get_fd(ioc, &err);
    if (!forked) {
        qio_channel_leave(ioc, QIO_USE_ONE, NULL);
    }
    return unpin_result(channel, fd, &err, error);
}

/* In a child only the class is asked, as in get_fd. */
static int take_inherited_fd(QIOChannel *ioc, Error **errp)
{
    QIOChannelClass *klass = qio_channel_class(ioc);

    if (!klass->io_take_fd) {
        qio_error_set(errp, QIO_ERROR_FORKED, "a channel of type '%s' belongs to the parent "
                      "process and has no single descriptor to take", G_OBJECT_TYPE_NAME(ioc));
        return -1;
    }
    return klass->io_take_fd(ioc, errp);
}

qioh_status qioh_channel_take_fd(qioh_channel *channel, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    bool forked;
    int fd;
    int32_t status = pin_any_process(channel, &ioc, &forked, error);

    if (status != 0) {
        return status;
    }
    fd = forked ? take_inherited_fd(ioc, &err) : qio_channel_take_fd(ioc, &err);
    return unpin_result(channel, fd, &err, error);
}

qioh_status qioh_channel_dup_fd(qioh_channel *channel, qioh_error *error)
{
    Error *err = NULL;
    QIOChannel *ioc;
    int fd;
    int32_t status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);

    if (status != 0) {
        return status;
    }
    fd = qio_channel_get_fd(ioc, &err);
    if (fd < 0) {
        status = abi_take_error(error, err);
    } else {
        status = sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (status < 0) {
            status = abi_fail_errno(error, errno, "cannot copy fd %d", fd);
        }
    }
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return status;
}

qioh_ssize qioh_channel_get_pending(qioh_channel *channel, qioh_error *error)
{
    QIOChannel *ioc;
    qioh_ssize pending = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);

    if (pending < 0) {
        return pending;
    }
    pending = (qioh_ssize)qio_channel_get_pending(ioc);
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return pending;
}
