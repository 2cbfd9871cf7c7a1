/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/dgram.c: datagram sockets, bound and connected.
 *
 * Owns: which pair of a local and a remote address a channel gets when names stand for several.
 * Rules: UDP over IPv4 and IPv6 only.  Binding and connecting a datagram socket send nothing and
 * wait for nothing, so the first pair that the system takes is it.  Any thread; the channel is new
 * and the caller's.
 */
#include "net/search.h"

#include <netinet/in.h>
#include <string.h>
#include "base/sys.h"
#include "channel/address-priv.h"
#include "channel/socket-priv.h"

static bool check_inet(const QIOAddress *addr, const char *which, Error **errp)
{
    if (addr != NULL && addr->kind == QIO_ADDRESS_INET) {
        return true;
    }
    if (addr == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: NULL is no address", which);
    } else {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "%s: a datagram socket takes a host and a port",
                      which);
    }
    return false;
}

static bool check_pair(const QIOAddress *local, const QIOAddress *remote, Error **errp)
{
    if (!check_inet(remote, "remote", errp) ||
        (local != NULL && !check_inet(local, "local", errp))) {
        return false;
    }
    if (remote->host == NULL || remote->host[0] == '\0' || remote->port == 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "remote: a host and a port have to be given");
        return false;
    }
    return true;
}

static bool is_any(const QIOAddress *addr)
{
    return addr == NULL || addr->host == NULL || addr->host[0] == '\0';
}

/* The wildcard of a family. */
static QIOSockaddr any_of(int family, uint32_t port)
{
    QIOSockaddr any = { .addr.ss_family = (sa_family_t)family };

    if (family == AF_INET6) {
        any.len = sizeof(struct sockaddr_in6);
        ((struct sockaddr_in6 *)&any.addr)->sin6_port = htons((uint16_t)port);
    } else {
        any.len = sizeof(struct sockaddr_in);
        ((struct sockaddr_in *)&any.addr)->sin_port = htons((uint16_t)port);
    }
    return any;
}

/* Notes the other side: nothing is under way then, whatever a call says that was interrupted. */
static bool note_remote(int fd, const QIOSockaddr *remote)
{
    int ret;

    do {
        ret = sys_connect(fd, (const struct sockaddr *)&remote->addr, remote->len);
    } while (ret < 0 && errno == EINTR);
    return ret == 0 || errno == EINPROGRESS;
}

/* Binds and connects.  Returns: a descriptor, or -1 with an error */
static int open_pair(const QIOSockaddr *local, const QIOSockaddr *remote, Error **errp)
{
    const char *what = "make a datagram socket to";
    int fd = sys_socket(remote->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char *where;

    if (fd >= 0) {
        what = "bind a datagram socket that talks to";
        if (sys_bind(fd, (const struct sockaddr *)&local->addr, local->len) == 0) {
            what = "connect a datagram socket to";
            if (note_remote(fd, remote)) {
                return fd;
            }
        }
    }
    where = qio_sockaddr_describe((const struct sockaddr *)&remote->addr, remote->len);
    qio_error_set_errno(errp, errno, "cannot %s %s", what, where);
    g_free(where);
    if (fd >= 0) {
        sys_close(fd);
    }
    return -1;
}

/* The first pair that can be had; the error is that of the last. */
static int open_first(const QIOSockaddr *locals, int nlocals, const QIOSockaddr *remotes,
                      int nremotes, const QIOSockaddr **remote, Error **errp)
{
    Error *err = NULL;

    for (int i = 0; i < nremotes * nlocals; i++) {
        const QIOSockaddr *local = &locals[i % nlocals];
        int fd;

        *remote = &remotes[i / nlocals];
        if (local->addr.ss_family != (*remote)->addr.ss_family) {
            continue;
        }
        g_clear_pointer(&err, qio_error_free);
        fd = open_pair(local, *remote, &err);
        if (fd >= 0) {
            return fd;
        }
    }
    if (err == NULL) {
        qio_error_set(&err, QIO_ERROR_INVAL, "the local and the remote address have no family in "
                      "common");
    }
    qio_error_propagate(errp, err);
    return -1;
}

/* Opens the channel, which the caller is inside of. */
static int open_inside(QIOChannelSocket *ioc, const QIOSockaddr *locals, int nlocals,
                       const QIOSockaddr *remotes, int nremotes, Error **errp)
{
    const QIOSockaddr *remote;
    int fd = open_first(locals, nlocals, remotes, nremotes, &remote, errp);

    if (fd < 0) {
        return -1;
    }
    qio_socket_set_remote(ioc, (const struct sockaddr *)&remote->addr, remote->len);
    qio_socket_adopt(ioc, fd, remote->addr.ss_family);
    return 0;
}

/* The local side: one wildcard for each family, or what the address stands for. */
static int any_locals(const QIOAddress *local, QIOSockaddr out[2])
{
    uint32_t port = local != NULL ? local->port : 0;

    out[0] = any_of(AF_INET6, port);
    out[1] = any_of(AF_INET, port);
    return 2;
}

static int resolve_inside(QIOChannelSocket *ioc, const QIOAddress *local,
                          const QIOAddress *remote, Error **errp)
{
    QIOSockaddr any[2], *locals = NULL, *remotes = NULL;
    int nlocals, nremotes;
    int ret = -1;

    nlocals = is_any(local) ? any_locals(local, any)
                            : qio_address_resolve(local, NULL, ioc, QIO_NEVER, false, &locals,
                                                  errp);
    nremotes = nlocals < 0 ? -1
                           : qio_address_resolve(remote, NULL, ioc, QIO_NEVER, false, &remotes,
                                                 errp);
    if (nremotes > 0) {
        ret = open_inside(ioc, locals != NULL ? locals : any, nlocals, remotes, nremotes, errp);
    }
    g_free(locals);
    g_free(remotes);
    return ret;
}

int qio_channel_socket_dgram_sync(QIOChannelSocket *ioc, const QIOAddress *local,
                                  const QIOAddress *remote, Error **errp)
{
    if (!check_pair(local, remote, errp) || qio_socket_enter_unopened(ioc, errp) < 0) {
        return -1;
    }
    return qio_socket_leave_opened(ioc, resolve_inside(ioc, local, remote, errp), errp);
}

/* ---- in a loop ---- */

typedef struct Dgram {
    QIOSearch search;               /* first: the task's state is it; of one side, then the other */
    QIOChannelSocket *ioc;
    QIOAddress *remote;
    QIOSockaddr locals[QIO_LOOKUP_MAX];
    int nlocals;
} Dgram;

static void dgram_finish(QIOTask *task, gpointer opaque)
{
    Dgram *state = opaque;

    qio_search_clear(&state->search);
    qio_address_free(state->remote);
    qio_object_unref(state->ioc);
    g_free(state);
}

static void remote_found(QIOTask *task, const QIOSockaddr *found, int count)
{
    Dgram *state = qio_task_get_state(task);
    Error *err = NULL;
    int ret = qio_socket_enter_unopened(state->ioc, &err);

    if (ret == 0) {
        ret = open_inside(state->ioc, state->locals, state->nlocals, found, count, &err);
        ret = qio_socket_leave_opened(state->ioc, ret, &err);
    }
    if (ret < 0) {
        qio_task_fail(task, err);
    } else {
        qio_task_complete(task, NULL, NULL);
    }
}

static void search_remote(QIOTask *task)
{
    Dgram *state = qio_task_get_state(task);

    qio_search_clear(&state->search);
    qio_search_init(&state->search, state->remote, NULL, remote_found);
    qio_search_begin(task);
}

static void local_found(QIOTask *task, const QIOSockaddr *found, int count)
{
    Dgram *state = qio_task_get_state(task);

    state->nlocals = MIN(count, QIO_LOOKUP_MAX);
    memcpy(state->locals, found, (size_t)state->nlocals * sizeof(found[0]));
    search_remote(task);
}

static void dgram_begin(QIOTask *task)
{
    Dgram *state = qio_task_get_state(task);
    QIOSockaddr any[2];

    if (is_any(state->search.addr)) {
        local_found(task, any, any_locals(state->search.addr, any));
    } else {
        qio_search_begin(task);
    }
}

QIOTask *qio_channel_socket_dgram_task(QIOChannelSocket *ioc, const QIOAddress *local,
                                       const QIOAddress *remote, AioContext *ctx,
                                       QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy)
{
    QIOTask *task = qio_task_new((Object *)ioc, ctx, func, opaque, destroy);
    Error *err = NULL;
    Dgram *state;

    if (!check_pair(local, remote, &err)) {
        qio_task_fail(task, err);
        return task;
    }
    state = g_new0(Dgram, 1);
    qio_search_init(&state->search, local, NULL, local_found);
    state->ioc = qio_object_ref(ioc);
    state->remote = qio_address_copy(remote);
    qio_task_set_finish(task, dgram_finish, state);
    qio_task_end_with(task, (QIOChannel *)ioc);
    qio_task_begin_in_loop(task, dgram_begin);
    return task;
}

void qio_channel_socket_dgram_async(QIOChannelSocket *ioc, const QIOAddress *local,
                                    const QIOAddress *remote, QIOTaskFunc func, gpointer opaque,
                                    GDestroyNotify destroy, AioContext *ctx)
{
    qio_task_unref(qio_channel_socket_dgram_task(ioc, local, remote, ctx, func, opaque, destroy));
}
