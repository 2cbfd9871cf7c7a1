/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/tickets.c: what a client keeps of a session to resume it later.
 *
 * Owns: the table of the credentials, by host name.  Rules: a ticket is taken out when it is used,
 * so that no two connections can be linked by it, and the newest of a host is kept; the table is
 * bounded; a resumed peer is verified again.  The lock is held for the table only.  Any thread.
 */
#include "tls/tls-priv.h"

enum { HOSTS_MAX = 256, TICKET_MAX = 64 * 1024 };

static GHashTable *table(QIOTlsCreds *creds)
{
    if (!creds->tickets) {
        creds->tickets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                               qio_tls_secret_free);
    }
    return creds->tickets;
}

void qio_tls_ticket_use(QIOTlsCreds *creds, const char *hostname, gnutls_session_t session)
{
    gpointer key = NULL, ticket = NULL;

    pthread_mutex_lock(&creds->tickets_lock);
    g_hash_table_steal_extended(table(creds), hostname, &key, &ticket);
    pthread_mutex_unlock(&creds->tickets_lock);
    if (ticket) {
        /* One that does not fit any more is passed over: a full handshake then. */
        gnutls_session_set_data(session, ((QIOTlsSecret *)ticket)->bytes,
                                ((QIOTlsSecret *)ticket)->len);
        qio_tls_secret_free(ticket);
    }
    g_free(key);
}

static void make_room(GHashTable *tickets, const char *hostname)
{
    GHashTableIter iter;

    if (g_hash_table_size(tickets) < HOSTS_MAX || g_hash_table_contains(tickets, hostname)) {
        return;
    }
    g_hash_table_iter_init(&iter, tickets);
    if (g_hash_table_iter_next(&iter, NULL, NULL)) {
        g_hash_table_iter_remove(&iter);
    }
}

void qio_tls_ticket_keep(QIOTlsCreds *creds, const char *hostname, gnutls_session_t session)
{
    gnutls_datum_t data = { NULL, 0 };

    if (gnutls_session_get_data2(session, &data) < 0) {
        return;
    }
    if (data.size <= TICKET_MAX) {
        pthread_mutex_lock(&creds->tickets_lock);
        make_room(table(creds), hostname);
        g_hash_table_replace(creds->tickets, g_strdup(hostname),
                             qio_tls_secret_new(data.data, data.size));
        pthread_mutex_unlock(&creds->tickets_lock);
    }
    explicit_bzero(data.data, data.size);
    gnutls_free(data.data);
}
