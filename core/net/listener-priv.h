/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listener-priv.h: what listener.c, listener-glib.c and listener-aio.c share.
 *
 * Owns: the struct of a listener and the sets of sockets it goes through.
 * Rules: `lock` guards everything not marked otherwise; nothing that calls out runs under it
 * (loop and GLib calls that only note something do).  A set never changes: another socket, or
 * the end, is another set, and whoever waits on the old one is woken.  So any number of threads
 * wait without a lock, and a descriptor's number is only used by who holds its set.
 */
#ifndef QIO_NET_LISTENER_PRIV_H
#define QIO_NET_LISTENER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "net/layers.h"
#include "net/listen.h"

/* How long accepting pauses when descriptors have run out: longer each time, and always well
 * under the second within which it has to go on. */
#define QIO_BACKOFF_MIN_MS 10
#define QIO_BACKOFF_MAX_MS 500

typedef struct QIOListenerSocket {
    QIOChannelSocket *sioc;         /* a reference */
    int fd;
} QIOListenerSocket;

typedef struct QIOListenerSet {
    _Atomic int refs;
    int wake_fd;                    /* readable for good once another set has taken over */
    int poll_fd;                    /* stands for more sockets than a loop takes; -1 = not needed */
    size_t count;
    QIOListenerSocket sockets[];
} QIOListenerSet;

typedef struct QIOListenerEntry QIOListenerEntry;   /* listener-aio.c */
typedef struct QIOClientSource QIOClientSource;     /* listener-glib.c */

struct QIONetListener {
    GObject parent;
    pthread_mutex_t lock;
    char *name;
    QIOLayers *layers;              /* what clients get on top; NULL = none; set before use */
    QIOListenerSet *set;            /* NULL: not listening */
    GPtrArray *addresses;           /* QIOAddress; those of the last set stay */
    bool closed;                    /* for good */
    QIOListenerEntry *entries;      /* loop watches; each holds a reference on the listener */
    QIOClientSource *clients;       /* the client function's source, or NULL */
    _Atomic size_t next;            /* which socket has its turn: none starves */
    _Atomic int backoff_ms;         /* 0: descriptors were there last time */
};

/* ---- listener.c ---- */

/* A listener with the name and the layers of a URI, and no socket yet; NULL with an error. */
QIONetListener *qio_listener_new_for_uri(const QIOUri *uri, Error **errp);
/* How to listen by a URI's options, not interruptible; borrows them. */
void qio_listener_how(QIOListenHow *how, const QIOOptions *options);
/* Gives it the sockets of an address.  Returns: 0, or -1 */
int qio_listener_open_address(QIONetListener *listener, const QIOAddress *addr,
                              const QIOListenHow *how, Error **errp);

/* qio_net_listener_accept() for a listener that may have layers: the socket below them. */
QIOChannelSocket *qio_listener_accept_socket(QIONetListener *listener, int timeout_ms,
                                             bool interruptible, Error **errp);

/* A reference on the current set, or NULL. */
QIOListenerSet *qio_listener_get_set(QIONetListener *listener);
void qio_listener_set_unref(QIOListenerSet *set);

typedef enum QIOAcceptResult {
    QIO_ACCEPT_CLIENT,
    QIO_ACCEPT_NOBODY,
    QIO_ACCEPT_SHORTAGE,            /* out of descriptors or memory: pause */
    QIO_ACCEPT_FAILED,
} QIOAcceptResult;

/* Takes one client of one socket, without waiting. */
QIOAcceptResult qio_listener_try_accept(QIONetListener *listener, QIOListenerSet *set,
                                        size_t index, QIOChannelSocket **client, Error **errp);
/* Accepting failed: pauses the loop watches.  Returns: for how many milliseconds */
int qio_listener_back_off(QIONetListener *listener);

/* ---- listener-layers.c ---- */

/* What the listener's clients are: the socket, whose reference it takes, or its layers on it. */
QIOChannel *qio_listener_put_layers(QIONetListener *listener, QIOChannelSocket *client,
                                    Error **errp);

/* ---- listener-aio.c ---- */

/* Pauses each loop watch for that long. */
void qio_listener_pause_entries(QIONetListener *listener, int ms);
/* The sockets changed. */
void qio_listener_kick_entries(QIONetListener *listener);
/* The sockets are about to be closed: each watch gets its last call. */
void qio_listener_end_entries(QIONetListener *listener);

/* qio_net_listener_add_aio_watch() as a watch of the library itself (loop/loop.h), with a func. */
QIOLoopWatch *qio_listener_add_internal_watch(QIONetListener *listener, AioContext *ctx,
                                              QIONetListenerFunc func, gpointer data,
                                              GDestroyNotify notify, Error **errp);

/* ---- listener-glib.c ---- */

/* The set changed; lock held. */
void qio_listener_clients_follow(QIONetListener *listener);
/* Lets go of the client function; without the lock. */
void qio_listener_clients_free(QIOClientSource *clients);

#endif
