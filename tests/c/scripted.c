/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scripted.c: the channel of scripted.h.
 *
 * Rule: one reader; only scripted_go() comes from other threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "scripted.h"

typedef struct Step {
    StepKind kind;
    GBytes *bytes;
    size_t used;
    size_t nfds;
} Step;

static bool stalled(Scripted *s, const Step *step)
{
    return step->kind == STEP_STALL && !__atomic_load_n(&s->open_gate, __ATOMIC_ACQUIRE);
}

static Step *current(Scripted *s)
{
    Step *step = s->next < s->steps->len ? &g_array_index(s->steps, Step, s->next) : NULL;

    if (step && step->kind == STEP_STALL && !stalled(s, step)) {
        s->next++;
        return current(s);
    }
    return step;
}

static ssize_t read_bytes(Scripted *s, Step *step, const struct iovec *iov, size_t niov,
                          int **fds, size_t *nfds)
{
    gsize len;
    const char *bytes = g_bytes_get_data(step->bytes, &len);
    size_t total = 0;
    size_t i;

    for (i = 0; i < niov && step->used < len; i++) {
        size_t part = MIN(iov[i].iov_len, len - step->used);

        memcpy(iov[i].iov_base, bytes + step->used, part);
        step->used += part;
        total += part;
    }
    if (step->nfds && fds) {
        *fds = g_new(int, step->nfds);
        *nfds = step->nfds;
        for (i = 0; i < step->nfds; i++) {
            (*fds)[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
    }
    step->nfds = 0;
    if (step->used == len) {
        s->next++;
    }
    return (ssize_t)total;
}

static ssize_t scripted_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                              int **fds, size_t *nfds, Error **errp)
{
    Scripted *s = (Scripted *)ioc;
    Step *step = current(s);

    s->reads++;
    if (!step) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    switch (step->kind) {
    case STEP_BYTES:
        return read_bytes(s, step, iov, niov, fds, nfds);
    case STEP_BLOCK:
        s->next++;
        qio_channel_notify(ioc, G_IO_IN);
        return QIO_CHANNEL_ERR_BLOCK;
    case STEP_STALL:
        return QIO_CHANNEL_ERR_BLOCK;
    case STEP_END:
        return 0;
    case STEP_ERROR:
        s->next++;
        qio_error_set_errno(errp, ECONNRESET, "the script says so");
        return -1;
    }
    return -1;
}

static ssize_t scripted_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                               int *fds, size_t nfds, Error **errp)
{
    Scripted *s = (Scripted *)ioc;
    size_t left = s->write_room;
    size_t i;

    if (left == 0) {
        return QIO_CHANNEL_ERR_BLOCK;
    }
    for (i = 0; i < niov && left > 0; i++) {
        size_t part = MIN(iov[i].iov_len, left);

        if (part > 0) {
            g_byte_array_append(s->written, iov[i].iov_base, (guint)part);
        }
        left -= part;
    }
    return (ssize_t)(s->write_room - left);
}

static int scripted_close(QIOChannel *ioc, Error **errp)
{
    ((Scripted *)ioc)->closes++;
    return 0;
}

static int scripted_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap)
{
    return 0;
}

static int scripted_advance(QIOChannel *ioc, GIOCondition condition)
{
    Scripted *s = (Scripted *)ioc;
    Step *step = current(s);
    int ready = 0;

    if (step && !stalled(s, step)) {
        ready |= G_IO_IN;
    }
    if (s->write_room > 0) {
        ready |= G_IO_OUT;
    }
    return ready & (int)condition;
}

static void scripted_init(Object *obj)
{
    Scripted *s = (Scripted *)obj;

    s->steps = g_array_new(FALSE, TRUE, sizeof(Step));
    s->written = g_byte_array_new();
    s->write_room = 1 << 20;
}

static void scripted_finalize(Object *obj)
{
    Scripted *s = (Scripted *)obj;
    guint i;

    for (i = 0; i < s->steps->len; i++) {
        g_bytes_unref(g_array_index(s->steps, Step, i).bytes);
    }
    g_array_free(s->steps, TRUE);
    g_byte_array_free(s->written, TRUE);
}

static void scripted_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = QIO_CHANNEL_CLASS(klass);

    ioc_class->io_readv = scripted_readv;
    ioc_class->io_writev = scripted_writev;
    ioc_class->io_close = scripted_close;
    ioc_class->io_poll = scripted_poll;
    ioc_class->io_advance = scripted_advance;
}

static const TypeInfo scripted_info = {
    .name = TYPE_SCRIPTED,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(Scripted),
    .instance_init = scripted_init,
    .instance_finalize = scripted_finalize,
    .class_init = scripted_class_init,
};

Scripted *scripted_new(void)
{
    qio_type_register_static(&scripted_info);
    return (Scripted *)qio_object_new(TYPE_SCRIPTED);
}

static void add(Scripted *s, StepKind kind, const void *bytes, size_t len, size_t nfds)
{
    Step step = { .kind = kind, .bytes = g_bytes_new(bytes, len), .nfds = nfds };

    g_array_append_val(s->steps, step);
}

void scripted_bytes(Scripted *s, const void *bytes, size_t len)
{
    add(s, STEP_BYTES, bytes, len, 0);
}

void scripted_text(Scripted *s, const char *text)
{
    add(s, STEP_BYTES, text, strlen(text), 0);
}

void scripted_fds(Scripted *s, const char *text, size_t nfds)
{
    qio_channel_set_feature(&s->parent, QIO_CHANNEL_FEATURE_FD_PASS);
    add(s, STEP_BYTES, text, strlen(text), nfds);
}

void scripted_step(Scripted *s, StepKind kind)
{
    add(s, kind, NULL, 0, 0);
}

void scripted_go(Scripted *s)
{
    __atomic_store_n(&s->open_gate, true, __ATOMIC_RELEASE);
    qio_channel_notify(&s->parent, G_IO_IN);
}
