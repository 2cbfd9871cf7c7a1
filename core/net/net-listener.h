/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/net-listener.h: listening on one or more sockets as one thing.
 *
 * Owns: QIONetListener, its sockets and who waits for clients.
 * Rules: accept never handshakes; a client that went away before it was accepted is passed
 * over; out of descriptors means a pause (at most 1 s), not a spin and not a lost listener;
 * clients accepted at the same moment are kept for the next call, never dropped.
 * Threads: all functions from any; several may accept at once; client_func is called in the
 * context given.
 */
#ifndef QIO_NET_LISTENER_H
#define QIO_NET_LISTENER_H

#include <qio/channel-socket.h>
#include <qio/options.h>

G_BEGIN_DECLS

#define TYPE_QIO_NET_LISTENER "qio-net-listener"
#define QIO_NET_LISTENER(obj) OBJECT_CHECK(QIONetListener, (obj), TYPE_QIO_NET_LISTENER)

typedef struct QIONetListener QIONetListener;
/** QIONetListenerClientFunc: @sioc is borrowed. */
typedef void (*QIONetListenerClientFunc)(QIONetListener *listener, QIOChannelSocket *sioc,
                                         gpointer data);

/** qio_net_listener_new: a listener without a socket; one reference to the caller. */
QIONetListener *qio_net_listener_new(void);
/** qio_net_listener_set_name: names its sockets NAME-listener and its later clients
 * NAME-client, for debugging; copies; NULL clears. */
void qio_net_listener_set_name(QIONetListener *listener, const char *name);
/** qio_net_listener_open_sync: listens on @addr with @backlog (at least 1); may be called again
 * for more.  A name is listened on at every address that it stands for and that can be, all on one
 * port.  A unix path that a dead listener left is replaced; one that is alive or no socket
 * stays (SYSTEM, EADDRINUSE); an empty one is made up.  Returns: 0, or -1 (INVAL, CLOSED,
 * RESOLVE; SYSTEM) */
int qio_net_listener_open_sync(QIONetListener *listener, const QIOAddress *addr, int backlog,
                               Error **errp);
/** qio_net_listener_open_uri, qio_net_listener_open_uri_full: a new listener as a URI of a socket
 * scheme says; the addresses it chose are qio_net_listener_get_address().  fd:NAME is what a
 * service manager passed under that name (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES).  Looking a name
 * up takes at most the key "timeout"; a signal ends it (_full, when @interruptible).  Errors as
 * qio_channel_open_uri().  Returns: one reference to the caller, or NULL */
QIONetListener *qio_net_listener_open_uri(const char *uri, const QIOOptions *options,
                                          Error **errp);
QIONetListener *qio_net_listener_open_uri_full(const char *uri, const QIOOptions *options,
                                               bool interruptible, Error **errp);
/** qio_net_listener_open_uri_task: the same as an operation, whose result is the QIONetListener;
 * looking the name up holds no loop up.  Arguments as qio_task_new().  A wrong URI fails the task.
 * Returns: a task, one reference to the caller */
QIOTask *qio_net_listener_open_uri_task(const char *uri, const QIOOptions *options,
                                        AioContext *ctx, QIOTaskFunc func, gpointer opaque,
                                        GDestroyNotify destroy);
/** qio_net_listener_add: takes a reference on a listening channel, which from then on is the
 * listener's to close.  Returns: 0, or -1 (INVAL: it does not listen; CLOSED; SYSTEM) */
int qio_net_listener_add(QIONetListener *listener, QIOChannelSocket *sioc, Error **errp);
/** QIONetListenerChannelFunc: @ioc is borrowed. */
typedef void (*QIONetListenerChannelFunc)(QIONetListener *listener, QIOChannel *ioc,
                                          gpointer data);
/** qio_net_listener_set_channel_func: as qio_net_listener_set_client_func_full(), with clients that
 * have the listener's layers.  One of the two at a time. */
void qio_net_listener_set_channel_func(QIONetListener *listener, QIONetListenerChannelFunc func,
                                       gpointer data, GDestroyNotify notify,
                                       GMainContext *context);
/** qio_net_listener_set_client_func, qio_net_listener_set_client_func_full: @func is called for
 * each client in the default GMainContext (_full: in @context), also of sockets opened later; NULL
 * pauses accepting; the old @notify runs once, outside every lock, when no call of the old
 * function is left.  With layers there is no client that is a socket: it is never called. */
void qio_net_listener_set_client_func(QIONetListener *listener, QIONetListenerClientFunc func,
                                      gpointer data, GDestroyNotify notify);
void qio_net_listener_set_client_func_full(QIONetListener *listener,
                                           QIONetListenerClientFunc func, gpointer data,
                                           GDestroyNotify notify, GMainContext *context);
/** qio_net_listener_wait_client: blocks for one client.  Returns: a channel, or NULL (closed) */
QIOChannelSocket *qio_net_listener_wait_client(QIONetListener *listener);
/**
 * qio_net_listener_accept:
 * @timeout_ms: -1 = for ever, 0 = try
 *
 * For a listener without layers.
 * Returns: a channel, or NULL: NOTSUP (it has layers), TIMEOUT (nobody in time, also for 0),
 * CANCELLED (closed meanwhile), CLOSED, INTR (a signal, when @interruptible), SYSTEM
 */
QIOChannelSocket *qio_net_listener_accept(QIONetListener *listener, int timeout_ms,
                                          bool interruptible, Error **errp);
/** qio_net_listener_accept_channel: the same for any listener: a socket, or what its URI's layers
 * make of it, without their handshakes, which the first transfer does.  Returns: one reference to
 * the caller, or NULL */
QIOChannel *qio_net_listener_accept_channel(QIONetListener *listener, int timeout_ms,
                                            bool interruptible, Error **errp);
/** qio_net_listener_accept_task: the same as an operation, whose result is the QIOChannel;
 * @timeout_ms -1 = for ever; the other arguments as qio_task_new().  It takes a client only while
 * it runs: who cancels it loses none.  Returns: a task, one reference to the caller (TIMEOUT,
 * CANCELLED: also when the listener is closed, CLOSED, SYSTEM) */
QIOTask *qio_net_listener_accept_task(QIONetListener *listener, int timeout_ms, AioContext *ctx,
                                      QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);
/** qio_net_listener_get_uri: the i-th address with the layers, as a client's URI, for the caller to
 * g_free(); INVAL after the last; also after close. */
char *qio_net_listener_get_uri(QIONetListener *listener, size_t index, Error **errp);
/** qio_net_listener_get_address: the i-th address with what the kernel chose, for the caller to
 * qio_address_free(); INVAL after the last; also after close. */
QIOAddress *qio_net_listener_get_address(QIONetListener *listener, size_t index, Error **errp);
/** qio_net_listener_get_fd: the i-th descriptor, which stays the listener's; INVAL after the
 * last. */
int qio_net_listener_get_fd(QIONetListener *listener, size_t index, Error **errp);
/**
 * qio_net_listener_add_aio_watch:
 * @func: called in @ctx's dispatch while a client waits; FALSE removes the watch; after a close
 *   once more with G_IO_NVAL; NULL makes the watch queued, as with qio_channel_add_aio_watch()
 *
 * As qio_channel_add_aio_watch().  While the process is out of descriptors the watch pauses.
 */
typedef gboolean (*QIONetListenerFunc)(QIONetListener *listener, GIOCondition condition,
                                       gpointer data);
QIOLoopWatch *qio_net_listener_add_aio_watch(QIONetListener *listener, AioContext *ctx,
                                             QIONetListenerFunc func, gpointer data,
                                             GDestroyNotify notify, Error **errp);
/** qio_net_listener_disconnect: closes all sockets, wakes who waits (CANCELLED), ends loop
 * watches; it may be opened again. */
void qio_net_listener_disconnect(QIONetListener *listener);
/** qio_net_listener_close: the same, for good; a second time does nothing.  Returns: 0, or -1
 * when a socket failed to close (it is closed all the same) */
int qio_net_listener_close(QIONetListener *listener, Error **errp);
/** qio_net_listener_is_connected: whether it has a listening socket. */
bool qio_net_listener_is_connected(QIONetListener *listener);

G_END_DECLS
#endif
