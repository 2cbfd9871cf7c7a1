/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listener-glib.c: a listener that calls a function for each client, in a GMainContext.
 *
 * Owns: the one source behind qio_net_listener_set_client_func().  It polls all sockets, lives
 * from one setting of the function to the next, and only knows its listener weakly.
 * Rules: descriptors are put in and taken out under the listener's lock.  GLib keeps the
 * function's data until a call in progress has returned, then runs the notify, outside every
 * lock.  When accepting fails the source polls nothing until its ready time.
 */
#include "net/listener-priv.h"

#include "base/sys.h"

struct QIOClientSource {
    GSource source;
    GWeakRef listener;
    GPtrArray *tags;                /* of g_source_add_unix_fd(), one a socket */
    bool paused;
    bool channels;                  /* the function takes channels with layers, not sockets */
};

/* Polls the sockets of the current set, or none; lock held. */
static void follow(QIONetListener *listener, QIOClientSource *clients)
{
    QIOListenerSet *set = listener->set;

    if (g_source_is_destroyed(&clients->source)) {
        return;                     /* its context is gone */
    }
    for (size_t i = 0; i < clients->tags->len; i++) {
        g_source_remove_unix_fd(&clients->source, g_ptr_array_index(clients->tags, i));
    }
    g_ptr_array_set_size(clients->tags, 0);
    for (size_t i = 0; set != NULL && !clients->paused && i < set->count; i++) {
        g_ptr_array_add(clients->tags, g_source_add_unix_fd(&clients->source,
                                                            set->sockets[i].fd, G_IO_IN));
    }
}

void qio_listener_clients_follow(QIONetListener *listener)
{
    if (listener->clients != NULL) {
        follow(listener, listener->clients);
    }
}

static void pause_until(QIONetListener *listener, QIOClientSource *clients, gint64 ready_us)
{
    pthread_mutex_lock(&listener->lock);
    clients->paused = ready_us >= 0;
    follow(listener, clients);
    g_source_set_ready_time(&clients->source, ready_us);
    pthread_mutex_unlock(&listener->lock);
}

/* Hands a client on, whose reference it takes. */
static void call_function(QIONetListener *listener, bool channels, GSourceFunc func,
                          gpointer data, QIOChannelSocket *client)
{
    QIOChannel *ioc = (QIOChannel *)client;

    if (channels) {
        ioc = qio_listener_put_layers(listener, client, NULL);
    }
    if (ioc == NULL) {
        return;                     /* its layers could not be made: it is closed */
    }
    if (channels) {
        ((QIONetListenerChannelFunc)(void *)func)(listener, ioc, data);
    } else {
        ((QIONetListenerClientFunc)(void *)func)(listener, client, data);
    }
    g_object_unref(ioc);
}

/* Takes one client of each socket that has one; false: accepting has to pause. */
static bool take_clients(QIONetListener *listener, QIOClientSource *clients, GSourceFunc func,
                         gpointer data)
{
    QIOListenerSet *set = qio_listener_get_set(listener);
    bool good = true;

    for (size_t i = 0; set != NULL && i < set->count && good; i++) {
        QIOChannelSocket *client;
        QIOAcceptResult result;

        /* The function may have set another, or closed the listener. */
        if (g_source_is_destroyed(&clients->source)) {
            break;
        }
        result = qio_listener_try_accept(listener, set, i, &client, NULL);
        if (result == QIO_ACCEPT_CLIENT) {
            call_function(listener, clients->channels, func, data, client);
        }
        good = result == QIO_ACCEPT_CLIENT || result == QIO_ACCEPT_NOBODY;
    }
    qio_listener_set_unref(set);
    return good;
}

static gboolean client_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    QIOClientSource *clients = (QIOClientSource *)source;
    QIONetListener *listener = g_weak_ref_get(&clients->listener);

    if (listener == NULL) {
        return G_SOURCE_REMOVE;
    }
    if (clients->paused) {
        pause_until(listener, clients, -1);
    }
    if (!take_clients(listener, clients, callback, data)) {
        int ms = qio_listener_back_off(listener);

        /* The clock of g_source_set_ready_time() is CLOCK_MONOTONIC in microseconds. */
        pause_until(listener, clients, sys_now_ns() / 1000 + ms * INT64_C(1000));
    }
    g_object_unref(listener);
    return G_SOURCE_CONTINUE;
}

static void client_finalize(GSource *source)
{
    QIOClientSource *clients = (QIOClientSource *)source;

    g_ptr_array_free(clients->tags, TRUE);
    g_weak_ref_clear(&clients->listener);
}

static GSourceFuncs client_funcs = {
    .dispatch = client_dispatch,
    .finalize = client_finalize,
};

void qio_listener_clients_free(QIOClientSource *clients)
{
    if (clients != NULL) {
        g_source_destroy(&clients->source);
        g_source_unref(&clients->source);
    }
}

static QIOClientSource *clients_new(QIONetListener *listener, GSourceFunc func, bool channels,
                                    gpointer data, GDestroyNotify notify)
{
    GSource *source = g_source_new(&client_funcs, sizeof(QIOClientSource));
    QIOClientSource *clients = (QIOClientSource *)source;

    g_weak_ref_init(&clients->listener, listener);
    clients->tags = g_ptr_array_new();
    clients->channels = channels;
    g_source_set_callback(source, func, data, notify);
    g_source_set_name(source, "qio-net-listener");
    return clients;
}

static void set_function(QIONetListener *listener, GSourceFunc func, bool channels,
                         gpointer data, GDestroyNotify notify, GMainContext *context)
{
    QIOClientSource *clients = NULL;
    QIOClientSource *old;

    /* Without a function the source is never attached: it just holds what to notify. */
    if (func != NULL || notify != NULL) {
        clients = clients_new(listener, func, channels, data, notify);
    }
    pthread_mutex_lock(&listener->lock);
    old = listener->clients;
    listener->clients = clients;
    if (func != NULL) {
        follow(listener, clients);
        g_source_attach(&clients->source, context);
    }
    pthread_mutex_unlock(&listener->lock);
    qio_listener_clients_free(old);
}

void qio_net_listener_set_client_func_full(QIONetListener *listener,
                                           QIONetListenerClientFunc func, gpointer data,
                                           GDestroyNotify notify, GMainContext *context)
{
    /* A bare socket is not what a listener with layers has for anybody. */
    if (func != NULL && listener->layers != NULL) {
        g_warning("a listener with layers calls no client function: set a channel function");
        func = NULL;
    }
    set_function(listener, (GSourceFunc)(void *)func, false, data, notify, context);
}

void qio_net_listener_set_channel_func(QIONetListener *listener, QIONetListenerChannelFunc func,
                                       gpointer data, GDestroyNotify notify,
                                       GMainContext *context)
{
    set_function(listener, (GSourceFunc)(void *)func, true, data, notify, context);
}

void qio_net_listener_set_client_func(QIONetListener *listener, QIONetListenerClientFunc func,
                                      gpointer data, GDestroyNotify notify)
{
    qio_net_listener_set_client_func_full(listener, func, data, notify, NULL);
}
