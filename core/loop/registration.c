/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop/registration.c: descriptors in the epoll set.
 *
 * Owns: the registrations of a loop, one for each descriptor with the masks of all its
 * watches merged, and the slots that epoll's data leads to.
 * Rule: data is slot and generation, never a pointer, because a batch that was harvested
 * can name a registration that another thread has removed since.
 *
 * A mask shrinks late: when an event comes that nobody waits for.  One with nobody at all is
 * removed then, never set to 0: epoll reports HUP whatever the mask and would spin.  So a
 * coroutine that waits again and again costs a MOD for each wait, not an ADD and a DEL; the
 * MOD is not spared, since it fails with ENOENT when the descriptor was closed and its
 * number used again meanwhile.
 */
#include "loop/context.h"

static QIOLoopRegistration *lookup(AioContext *ctx, int fd)
{
    return g_hash_table_lookup(ctx->by_fd, GINT_TO_POINTER(fd));
}

static int control(AioContext *ctx, int op, const QIOLoopRegistration *reg, GIOCondition mask)
{
    struct epoll_event event = {
        .events = mask,
        .data.u64 = (uint64_t)ctx->slots[reg->slot].generation << 32 | reg->slot,
    };

    return sys_epoll_ctl(ctx->epfd, op, reg->fd, &event);
}

/* ---- slots ---- */

static void bump_generation(QIOLoopSlot *slot)
{
    /* UINT32_MAX is in the data of wakefd and timerfd. */
    slot->generation = slot->generation + 1 == UINT32_MAX ? 0 : slot->generation + 1;
}

static uint32_t take_slot(AioContext *ctx, QIOLoopRegistration *reg)
{
    uint32_t index;

    if (!ctx->free_slot) {
        uint32_t n = MAX(2 * ctx->n_slots, 16);

        ctx->slots = g_renew(QIOLoopSlot, ctx->slots, n);
        for (uint32_t i = n; i-- > ctx->n_slots;) {
            ctx->slots[i] = (QIOLoopSlot) { .next_free = ctx->free_slot };
            ctx->free_slot = i + 1;
        }
        ctx->n_slots = n;
    }
    index = ctx->free_slot - 1;
    ctx->free_slot = ctx->slots[index].next_free;
    ctx->slots[index].reg = reg;
    return index;
}

static void free_slot(AioContext *ctx, uint32_t index)
{
    QIOLoopSlot *slot = &ctx->slots[index];

    slot->reg = NULL;
    bump_generation(slot);
    slot->next_free = ctx->free_slot;
    ctx->free_slot = index + 1;
}

/* ---- registrations ---- */

/* Forgets a registration that has no links. */
static void registration_free(AioContext *ctx, QIOLoopRegistration *reg)
{
    free_slot(ctx, reg->slot);
    g_hash_table_remove(ctx->by_fd, GINT_TO_POINTER(reg->fd));
    g_free(reg);
}

/* It may be gone from epoll already, when its descriptor was closed: nothing to report. */
static void registration_remove(AioContext *ctx, QIOLoopRegistration *reg)
{
    control(ctx, EPOLL_CTL_DEL, reg, 0);
    registration_free(ctx, reg);
}

static GIOCondition wanted(const QIOLoopRegistration *reg)
{
    GIOCondition mask = 0;

    for (const QIOLoopLink *link = reg->links; link; link = link->next) {
        mask |= link->events;
    }
    return mask;
}

/* 0, or -1 with errno. */
static int modify(AioContext *ctx, QIOLoopRegistration *reg, GIOCondition mask)
{
    int ret = control(ctx, EPOLL_CTL_MOD, reg, mask);

    if (ret == 0) {
        reg->mask = mask;
    }
    return ret;
}

/* Makes a registration.  NULL with errno. */
static QIOLoopRegistration *registration_new(AioContext *ctx, int fd, GIOCondition mask)
{
    QIOLoopRegistration *reg = g_new0(QIOLoopRegistration, 1);
    int ret, error;

    reg->fd = fd;
    reg->slot = take_slot(ctx, reg);
    g_hash_table_insert(ctx->by_fd, GINT_TO_POINTER(fd), reg);
    ret = control(ctx, EPOLL_CTL_ADD, reg, mask);
    if (ret < 0 && errno == EEXIST) {
        /* Left over from a DEL that failed. */
        ret = control(ctx, EPOLL_CTL_MOD, reg, mask);
    }
    if (ret < 0) {
        error = errno;
        registration_free(ctx, reg);
        errno = error;
        return NULL;
    }
    reg->mask = mask;
    return reg;
}

/* ---- links ---- */

static void join(QIOLoopLink *link, QIOLoopRegistration *reg)
{
    link->reg = reg;
    link->next = reg->links;
    link->pprev = &reg->links;
    if (link->next) {
        link->next->pprev = &link->next;
    }
    reg->links = link;
}

static void part(QIOLoopLink *link)
{
    *link->pprev = link->next;
    if (link->next) {
        link->next->pprev = link->pprev;
    }
    link->reg = NULL;
}

/* The descriptor is gone: whoever waits for it never would be called again. */
static void sever(QIOLoopRegistration *reg)
{
    while (reg->links) {
        QIOLoopLink *link = reg->links;

        part(link);
        link->events = 0;
        if (link->watch->ops && !link->watch->ops->direct) {
            qio_loop_watch_push_ask(link->watch);
        } else {
            qio_loop_watch_end_locked(link->watch);
        }
    }
}

/* Widens a registration for a watch that joins it.  1, 0 when its descriptor was closed and
 * it is gone, -1 with errno. */
static int widen(QIOLoopWatch *watch, QIOLoopRegistration *reg, GIOCondition events)
{
    AioContext *ctx = watch->ctx;
    GIOCondition mask = wanted(reg) | events;
    int error;

    /* The other watches of a subject vouch for the descriptor; a bare number may be that of
     * another file by now. */
    if (reg->links && watch->ops && !(mask & ~reg->mask)) {
        return 1;
    }
    if (modify(ctx, reg, mask) == 0) {
        return 1;
    }
    error = errno;
    if (error != ENOENT && error != EBADF && error != EPERM) {
        return -1;
    }
    sever(reg);
    registration_free(ctx, reg);
    return 0;
}

int qio_loop_link_add(QIOLoopWatch *watch, int fd, GIOCondition events)
{
    AioContext *ctx = watch->ctx;
    QIOLoopLink *link = &watch->links[watch->n_links];
    QIOLoopRegistration *reg = lookup(ctx, fd);
    int found = reg ? widen(watch, reg, events) : 0;

    if (found < 0) {
        return -1;
    }
    *link = (QIOLoopLink) { .watch = watch, .fd = fd, .events = events };
    if (!found) {
        reg = registration_new(ctx, fd, events);
        if (!reg && errno != EPERM) {
            return -1;
        }
    }
    watch->n_links++;
    if (reg) {
        join(link, reg);
    }
    return 0;
}

void qio_loop_links_drop(QIOLoopWatch *watch, bool keep)
{
    for (int i = 0; i < watch->n_links; i++) {
        QIOLoopRegistration *reg = watch->links[i].reg;

        if (!reg) {
            continue;
        }
        part(&watch->links[i]);
        if (!reg->links && !keep) {
            registration_remove(watch->ctx, reg);
        }
    }
    watch->n_links = 0;
}

static bool links_equal(const QIOLoopWatch *watch, const QIOPollFd *fds, int n)
{
    if (watch->n_links != n) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (watch->links[i].fd != fds[i].fd || watch->links[i].events != fds[i].events) {
            return false;
        }
    }
    return true;
}

int qio_loop_links_set(QIOLoopWatch *watch, const QIOPollFd *fds, int n)
{
    AioContext *ctx = watch->ctx;
    int old_fds[QIO_POLL_MAX];
    int n_old = watch->n_links;
    int ret = 0;

    if (links_equal(watch, fds, n)) {
        return 0;
    }
    for (int i = 0; i < n_old; i++) {
        old_fds[i] = watch->links[i].fd;
    }
    /* The usual change is another mask on the same descriptor: one MOD. */
    qio_loop_links_drop(watch, true);
    for (int i = 0; i < n && ret == 0; i++) {
        ret = qio_loop_link_add(watch, fds[i].fd, fds[i].events);
    }
    for (int i = 0; i < n_old; i++) {
        QIOLoopRegistration *reg = lookup(ctx, old_fds[i]);

        if (reg && !reg->links) {
            registration_remove(ctx, reg);
        }
    }
    return ret;
}

GIOCondition qio_loop_links_always(const QIOLoopWatch *watch)
{
    GIOCondition always = 0;

    for (int i = 0; i < watch->n_links; i++) {
        if (!watch->links[i].reg) {
            always |= watch->links[i].events & (G_IO_IN | G_IO_OUT);
        }
    }
    return always;
}

void qio_loop_registration_fire(AioContext *ctx, const struct epoll_event *event,
                                QIOLoopHarvest *harvest)
{
    uint32_t index = (uint32_t)event->data.u64;
    uint32_t generation = event->data.u64 >> 32;
    QIOLoopRegistration *reg = ctx->slots[index].reg;
    GIOCondition mask;

    if (!reg || ctx->slots[index].generation != generation) {
        return;
    }
    if (!reg->links) {
        registration_remove(ctx, reg);
        return;
    }
    for (QIOLoopLink *link = reg->links; link; link = link->next) {
        GIOCondition events = event->events & (link->events | QIO_LOOP_UNASKED);

        if (events) {
            qio_loop_watch_fd_event(link->watch, events, harvest);
        }
    }
    mask = wanted(reg);
    if (event->events & ~(mask | QIO_LOOP_UNASKED)) {
        modify(ctx, reg, mask);
    }
}

void qio_loop_registration_fire_internal(AioContext *ctx, int fd, GIOCondition events)
{
    QIOLoopHarvest harvest = { .puller = QIO_LOOP_FOR_DISPATCH };
    QIOLoopRegistration *reg = lookup(ctx, fd);

    for (QIOLoopLink *link = reg ? reg->links : NULL; link; link = link->next) {
        GIOCondition mine = events & (link->events | QIO_LOOP_UNASKED);

        if (mine && link->watch->internal) {
            qio_loop_watch_fd_event(link->watch, mine, &harvest);
        }
    }
}

void qio_loop_registration_forget(AioContext *ctx, int fd)
{
    QIOLoopRegistration *reg = lookup(ctx, fd);

    if (reg) {
        sever(reg);
        registration_remove(ctx, reg);
    }
}

void qio_loop_registrations_free(AioContext *ctx)
{
    GHashTableIter iter;
    gpointer reg;

    g_hash_table_iter_init(&iter, ctx->by_fd);
    while (g_hash_table_iter_next(&iter, NULL, &reg)) {
        control(ctx, EPOLL_CTL_DEL, reg, 0);
        g_hash_table_iter_remove(&iter);
        free_slot(ctx, ((QIOLoopRegistration *)reg)->slot);
        g_free(reg);
    }
}
