/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory.c: a pair of connected channels in memory, see memory.h.
 */
#include "memory.h"

#include <string.h>

#define TYPE_MEMORY "test-memory"
#define MEMORY(ioc) ((Memory *)(ioc))

enum { ROOM = 64 * 1024 };

typedef struct Memory {
    QIOChannel parent;
    struct Memory *peer;        /* NULL once that is closed */
    Chunking chunking;
    GRand *random;
    GByteArray *inbox;          /* what came; this end has not read it from `at` on */
    size_t at;
    size_t read;
    bool ended;                 /* nothing more comes into the inbox */
    bool paused;                /* the last read gave a piece; the next would block, once */
} Memory;

static size_t unread(const Memory *m)
{
    return m->inbox->len - m->at;
}

/* Moves what is unread to the front now and then: a byte at a time it would take for ever. */
static void take(Memory *m, size_t n)
{
    m->at += n;
    m->read += n;
    if (unread(m) == 0 || m->at > ROOM) {
        g_byte_array_remove_range(m->inbox, 0, (guint)m->at);
        m->at = 0;
    }
}

static size_t random_length(Memory *m)
{
    return (size_t)g_rand_int_range(m->random, 1, g_rand_boolean(m->random) ? 8 : 3000);
}

static size_t piece_length(Memory *m, size_t n)
{
    size_t random;

    switch (m->chunking.kind) {
    case CHUNK_BYTES:
        return MIN(n, 1);
    case CHUNK_SPLIT:
        return m->read < m->chunking.at ? MIN(n, m->chunking.at - m->read) : n;
    case CHUNK_RANDOM:
        random = random_length(m);
        return MIN(n, random);
    default:
        return n;
    }
}

static bool pauses_after(Memory *m)
{
    switch (m->chunking.kind) {
    case CHUNK_BYTES:
        return true;
    case CHUNK_SPLIT:
        return m->read == m->chunking.at;
    case CHUNK_RANDOM:
        return g_rand_boolean(m->random);
    default:
        return false;
    }
}

static size_t fill(const struct iovec *iov, size_t niov, const uint8_t *bytes, size_t len)
{
    size_t done = 0;

    for (size_t i = 0; i < niov && done < len; i++) {
        size_t part = MIN(iov[i].iov_len, len - done);

        if (part > 0) {
            memcpy(iov[i].iov_base, bytes + done, part);
        }
        done += part;
    }
    return done;
}

static ssize_t memory_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                            size_t *nfds, Error **errp)
{
    Memory *m = MEMORY(ioc);
    size_t n;

    if (m->paused) {
        m->paused = false;
        qio_channel_notify(ioc, G_IO_IN);
        return QIO_CHANNEL_ERR_BLOCK;
    }
    if (unread(m) == 0) {
        return m->ended ? 0 : QIO_CHANNEL_ERR_BLOCK;
    }
    n = fill(iov, niov, m->inbox->data + m->at, piece_length(m, unread(m)));
    take(m, n);
    m->paused = pauses_after(m);
    if (m->peer) {
        qio_channel_notify(&m->peer->parent, G_IO_OUT);
    }
    return (ssize_t)n;
}

static size_t room_at_peer(Memory *m)
{
    return unread(m->peer) < ROOM ? ROOM - unread(m->peer) : 0;
}

static ssize_t memory_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                             size_t nfds, Error **errp)
{
    Memory *m = MEMORY(ioc);
    size_t room, done = 0;

    if (!m->peer || m->peer->ended) {
        qio_error_set_errno(errp, EPIPE, "nobody reads");
        return -1;
    }
    room = room_at_peer(m);
    if (m->chunking.kind == CHUNK_RANDOM && room > 0) {
        size_t most = (size_t)g_rand_int_range(m->random, 0, 4000);

        room = MIN(room, most);
        if (room == 0) {
            qio_channel_notify(ioc, G_IO_OUT);
        }
    }
    for (size_t i = 0; i < niov && done < room; i++) {
        size_t part = MIN(iov[i].iov_len, room - done);

        if (part > 0) {
            g_byte_array_append(m->peer->inbox, iov[i].iov_base, (guint)part);
        }
        done += part;
    }
    if (done > 0) {
        qio_channel_notify(&m->peer->parent, G_IO_IN);
    }
    return done > 0 ? (ssize_t)done : QIO_CHANNEL_ERR_BLOCK;
}

static void end_peer(Memory *m)
{
    if (m->peer) {
        m->peer->ended = true;
        qio_channel_notify(&m->peer->parent, G_IO_IN | G_IO_OUT);
    }
}

static int memory_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    if (how != QIO_CHANNEL_SHUTDOWN_READ) {
        end_peer(MEMORY(ioc));
    }
    return 0;
}

static int memory_close(QIOChannel *ioc, Error **errp)
{
    Memory *m = MEMORY(ioc);

    end_peer(m);
    if (m->peer) {
        m->peer->peer = NULL;
        m->peer = NULL;
    }
    return 0;
}

static int memory_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static int memory_advance(QIOChannel *ioc, GIOCondition condition)
{
    Memory *m = MEMORY(ioc);
    GIOCondition ready = 0;

    if ((unread(m) > 0 || m->ended) && !m->paused) {
        ready |= G_IO_IN;
    }
    if (!m->peer || m->peer->ended || room_at_peer(m) > 0) {
        ready |= G_IO_OUT;
    }
    if (m->paused && (condition & G_IO_IN)) {
        m->paused = false;
        qio_channel_notify(ioc, G_IO_IN);
    }
    return (int)(ready & condition);
}

static void memory_finalize(Object *obj)
{
    Memory *m = MEMORY(obj);

    g_byte_array_unref(m->inbox);
    g_rand_free(m->random);
}

static void memory_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *k = (QIOChannelClass *)klass;

    k->io_readv = memory_readv;
    k->io_writev = memory_writev;
    k->io_close = memory_close;
    k->io_shutdown = memory_shutdown;
    k->io_poll = memory_poll;
    k->io_advance = memory_advance;
}

static Memory *memory_new(const Chunking *chunking, uint32_t which)
{
    static const TypeInfo info = {
        .name = TYPE_MEMORY,
        .parent = TYPE_QIO_CHANNEL,
        .instance_size = sizeof(Memory),
        .instance_finalize = memory_finalize,
        .class_init = memory_class_init,
    };
    Memory *m;

    qio_type_register_static(&info);
    m = MEMORY(qio_object_new(TYPE_MEMORY));
    m->chunking = *chunking;
    m->random = g_rand_new_with_seed(chunking->seed * 2 + which);
    m->inbox = g_byte_array_new();
    qio_channel_set_feature(&m->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
    return m;
}

void memory_pair(QIOChannel *out[2], const Chunking *chunking)
{
    Memory *a = memory_new(chunking, 0), *b = memory_new(chunking, 1);

    a->peer = b;
    b->peer = a;
    out[0] = &a->parent;
    out[1] = &b->parent;
}

void memory_cut(QIOChannel *end)
{
    end_peer(MEMORY(end));
}

size_t memory_read(QIOChannel *end)
{
    return MEMORY(end)->read;
}
