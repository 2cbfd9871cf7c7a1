/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/resolver.c: the threads that look names up.
 *
 * Owns: the pool of a process: its queue and how many workers there are.  A worker takes look-ups
 * until there are none, and ends; it runs with every signal blocked, so that the program's
 * handlers stay with the program's threads.
 * Rules: the pool's lock guards the queue and what a look-up and its worker share; it is never
 * held while anything is looked up.  A look-up's descriptors are closed under that lock and at
 * once forgotten, so a worker that comes late closes no stranger's.  A forked child has no
 * workers and may find the lock taken for ever: it begins with a pool of its own and leaves the
 * parent's alone.
 */
#include "net/resolver.h"

#include <netinet/in.h>
#include <string.h>
#include "base/fork.h"
#include "channel/channel-priv.h"

typedef struct Pool {
    pthread_mutex_t lock;
    uint32_t epoch;             /* of the process that it belongs to */
    GQueue waiting;             /* QIOLookup */
    int threads;
    struct Pool *left_behind;   /* of the process that this one was forked from */
} Pool;

struct QIOLookup {
    Pool *pool;
    int refs;                   /* one of who asked, one of the queue or the worker */
    int done_fd;                /* a pipe's end that is readable, or hangs up, when it is done */
    int tell_fd;                /* its other end; -1 = done, or whoever asked has gone */
    bool done;
    char *host;
    char *text;                 /* the same for messages */
    uint16_t port;
    struct addrinfo hints;
    int eai;                    /* the answer: 0, or why there is none */
    int number;                 /* and errno, for EAI_SYSTEM */
    size_t count;
    QIOSockaddr found[QIO_LOOKUP_MAX];
};

static _Atomic(Pool *) the_pool;

static Pool *get_pool(void)
{
    Pool *pool = atomic_load(&the_pool);
    Pool *fresh;

    if (pool != NULL && pool->epoch == qio_fork_epoch()) {
        return pool;
    }
    fresh = g_new0(Pool, 1);
    pthread_mutex_init(&fresh->lock, NULL);
    g_queue_init(&fresh->waiting);
    fresh->epoch = qio_fork_epoch();
    fresh->left_behind = pool;
    if (atomic_compare_exchange_strong(&the_pool, &pool, fresh)) {
        return fresh;
    }
    pthread_mutex_destroy(&fresh->lock);
    g_free(fresh);
    return pool;
}

/* Lock held, or nobody else knows it. */
static void lookup_unref(QIOLookup *lookup)
{
    if (--lookup->refs == 0) {
        g_free(lookup->host);
        g_free(lookup->text);
        g_free(lookup);
    }
}

/* ---- the worker ---- */

static void add_found(QIOLookup *lookup, const struct addrinfo *info)
{
    QIOSockaddr *to = &lookup->found[lookup->count];

    if (info->ai_addrlen > sizeof(to->addr) ||
        (info->ai_family != AF_INET && info->ai_family != AF_INET6)) {
        return;
    }
    memset(to, 0, sizeof(*to));
    to->len = info->ai_addrlen;
    memcpy(&to->addr, info->ai_addr, info->ai_addrlen);
    if (info->ai_family == AF_INET) {
        ((struct sockaddr_in *)&to->addr)->sin_port = htons(lookup->port);
    } else {
        ((struct sockaddr_in6 *)&to->addr)->sin6_port = htons(lookup->port);
    }
    for (size_t i = 0; i < lookup->count; i++) {
        if (lookup->found[i].len == to->len &&
            memcmp(&lookup->found[i].addr, &to->addr, to->len) == 0) {
            return;     /* a hosts file may have it twice */
        }
    }
    lookup->count++;
}

static void look_up(QIOLookup *lookup)
{
    struct addrinfo *list = NULL;

    lookup->eai = sys_getaddrinfo(lookup->host, NULL, &lookup->hints, &list);
    lookup->number = lookup->eai == EAI_SYSTEM ? errno : 0;
    if (lookup->eai != 0) {
        return;
    }
    for (struct addrinfo *info = list; info != NULL && lookup->count < QIO_LOOKUP_MAX;
         info = info->ai_next) {
        add_found(lookup, info);
    }
    freeaddrinfo(list);
    if (lookup->count == 0) {
        lookup->eai = EAI_NONAME;
    }
}

/* Lock held.  A close tells it, since it cannot fail; but a child that was forked meanwhile has
 * that end too, and then only a byte tells. */
static void tell_done(QIOLookup *lookup)
{
    ssize_t n;

    lookup->done = true;
    if (lookup->tell_fd >= 0) {
        do {
            n = sys_write(lookup->tell_fd, "", 1);
        } while (n < 0 && errno == EINTR);
        sys_close(lookup->tell_fd);
        lookup->tell_fd = -1;
    }
}

static void *work(void *opaque)
{
    Pool *pool = opaque;
    QIOLookup *lookup;

    pthread_mutex_lock(&pool->lock);
    while ((lookup = g_queue_pop_head(&pool->waiting)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        look_up(lookup);
        pthread_mutex_lock(&pool->lock);
        tell_done(lookup);
        lookup_unref(lookup);
    }
    pool->threads--;
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Returns 0, or a positive errno. */
static int start_worker(Pool *pool)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int number;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sys_pthread_sigmask(SIG_SETMASK, &all, &old);
    number = sys_pthread_create(&thread, &attr, work, pool);
    sys_pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return number;
}

/* ---- who asks ---- */

bool qio_address_is_name(const QIOAddress *addr)
{
    struct sockaddr_storage sa;
    Error *err = NULL;
    bool name;

    if (addr->kind != QIO_ADDRESS_INET || addr->host == NULL || addr->host[0] == '\0') {
        return false;
    }
    name = qio_address_to_sockaddr(addr, &sa, &err) < 0 &&
           qio_error_get_code(err) == QIO_ERROR_NOTSUP;
    qio_error_free(err);
    return name;
}

int qio_address_to_one(const QIOAddress *addr, QIOSockaddr *out, Error **errp)
{
    int len = qio_address_to_sockaddr(addr, &out->addr, errp);

    out->len = len < 0 ? 0 : (socklen_t)len;
    return len < 0 ? -1 : 0;
}

static int family_of(const QIOOptions *options)
{
    bool ipv4 = qio_options_get_bool(options, "ipv4", true);
    bool ipv6 = qio_options_get_bool(options, "ipv6", true);

    return ipv4 == ipv6 ? AF_UNSPEC : ipv4 ? AF_INET : AF_INET6;
}

static char *text_of_host(const char *host)
{
    char text[300];

    return g_strdup(qio_escape_bytes(host, strlen(host), text, sizeof(text)));
}

static QIOLookup *lookup_new(const QIOAddress *addr, const QIOOptions *options)
{
    QIOLookup *lookup = g_new0(QIOLookup, 1);

    lookup->pool = get_pool();
    lookup->refs = 1;
    lookup->host = g_strdup(addr->host);
    lookup->text = text_of_host(addr->host);
    lookup->port = (uint16_t)addr->port;
    lookup->hints.ai_family = family_of(options);
    lookup->hints.ai_socktype = SOCK_STREAM;    /* else each address comes once for each type */
    return lookup;
}

/* No worker could be had, so nobody takes what is queued; lock held. */
static void fail_waiting(Pool *pool, int number)
{
    QIOLookup *lookup;

    while ((lookup = g_queue_pop_head(&pool->waiting)) != NULL) {
        lookup->eai = EAI_SYSTEM;
        lookup->number = number;
        tell_done(lookup);
        lookup_unref(lookup);
    }
}

/* Queues it, with a worker to take it. */
static void queue_lookup(Pool *pool, QIOLookup *lookup)
{
    bool start;
    int number;

    pthread_mutex_lock(&pool->lock);
    lookup->refs++;
    g_queue_push_tail(&pool->waiting, lookup);
    start = pool->threads < QIO_RESOLVER_THREADS;
    pool->threads += start;
    pthread_mutex_unlock(&pool->lock);
    if (!start) {
        return;
    }
    number = start_worker(pool);
    if (number != 0) {
        pthread_mutex_lock(&pool->lock);
        if (--pool->threads == 0) {
            fail_waiting(pool, number);
        }
        pthread_mutex_unlock(&pool->lock);
    }
}

QIOLookup *qio_lookup_start(const QIOAddress *addr, const QIOOptions *options, Error **errp)
{
    QIOLookup *lookup = lookup_new(addr, options);
    int fds[2];

    if (qio_options_get_bool(options, "numeric", false)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the host \"%s\" is a name, and the key \"numeric\" "
                      "is on", lookup->text);
        lookup_unref(lookup);
        return NULL;
    }
    if (sys_pipe2(fds, O_CLOEXEC) < 0) {
        qio_error_set_errno(errp, errno, "cannot look the host \"%s\" up", lookup->text);
        lookup_unref(lookup);
        return NULL;
    }
    lookup->done_fd = fds[0];
    lookup->tell_fd = fds[1];
    queue_lookup(lookup->pool, lookup);
    return lookup;
}

int qio_lookup_fd(const QIOLookup *lookup)
{
    return lookup->done_fd;
}

bool qio_lookup_is_done(QIOLookup *lookup)
{
    bool done;

    pthread_mutex_lock(&lookup->pool->lock);
    done = lookup->done;
    pthread_mutex_unlock(&lookup->pool->lock);
    return done;
}

int qio_lookup_result(QIOLookup *lookup, const QIOSockaddr **found, Error **errp)
{
    if (lookup->eai != 0) {
        qio_error_set_number(errp, QIO_ERROR_RESOLVE, QIO_ERROR_DOMAIN_RESOLVE, lookup->eai,
                             "cannot resolve the host \"%s\": %s", lookup->text,
                             lookup->eai == EAI_SYSTEM ? g_strerror(lookup->number)
                                                       : gai_strerror(lookup->eai));
        return -1;
    }
    *found = lookup->found;
    return (int)lookup->count;
}

static int wait_once(QIOLookup *lookup, QIOChannelSocket *ioc, int64_t deadline_ns,
                     bool interruptible)
{
    struct pollfd fds[1 + QIO_POLL_OURS] = { { .fd = lookup->done_fd, .events = POLLIN } };

    if (ioc != NULL) {
        return qio_channel_poll_fds((QIOChannel *)ioc, fds, 1, deadline_ns, interruptible);
    }
    return qio_poll_fds(fds, 1, deadline_ns, interruptible);
}

int qio_lookup_wait(QIOLookup *lookup, QIOChannelSocket *ioc, int64_t deadline_ns,
                    bool interruptible, Error **errp)
{
    while (!qio_lookup_is_done(lookup)) {
        int ready = wait_once(lookup, ioc, deadline_ns, interruptible);

        if (ready > 0) {
            continue;
        }
        if (ready == 0 && sys_ms_left(deadline_ns) == 0) {
            qio_error_set(errp, QIO_ERROR_TIMEOUT, "no answer for the host \"%s\" within the "
                          "time given", lookup->text);
        } else if (ready == 0) {
            continue;
        } else if (errno == EINTR) {
            qio_error_set(errp, QIO_ERROR_INTR, "a signal came while the host \"%s\" was looked "
                          "up", lookup->text);
        } else if (errno == ECANCELED) {
            qio_error_set(errp, QIO_ERROR_CANCELLED, "looking the host \"%s\" up was cancelled",
                          lookup->text);
        } else {
            qio_error_set_errno(errp, errno, "cannot wait for the host \"%s\"", lookup->text);
        }
        return -1;
    }
    return 0;
}

static void close_both(QIOLookup *lookup)
{
    sys_close(lookup->done_fd);
    if (lookup->tell_fd >= 0) {
        sys_close(lookup->tell_fd);
        lookup->tell_fd = -1;
    }
}

void qio_lookup_free(QIOLookup *lookup)
{
    Pool *pool = lookup->pool;

    if (pool->epoch != qio_fork_epoch()) {
        close_both(lookup);     /* the rest may be in the hands of a thread left behind */
        return;
    }
    pthread_mutex_lock(&pool->lock);
    close_both(lookup);
    if (g_queue_remove(&pool->waiting, lookup)) {
        lookup_unref(lookup);
    }
    lookup_unref(lookup);
    pthread_mutex_unlock(&pool->lock);
}

int qio_address_resolve(const QIOAddress *addr, const QIOOptions *options, QIOChannelSocket *ioc,
                        int64_t deadline_ns, bool interruptible, QIOSockaddr **found,
                        Error **errp)
{
    const QIOSockaddr *list;
    QIOLookup *lookup;
    int count;

    if (!qio_address_is_name(addr)) {
        *found = g_new0(QIOSockaddr, 1);
        if (qio_address_to_one(addr, *found, errp) < 0) {
            g_clear_pointer(found, g_free);
            return -1;
        }
        return 1;
    }
    lookup = qio_lookup_start(addr, options, errp);
    if (lookup == NULL) {
        return -1;
    }
    count = qio_lookup_wait(lookup, ioc, deadline_ns, interruptible, errp) < 0
        ? -1 : qio_lookup_result(lookup, &list, errp);
    if (count > 0) {
        *found = g_memdup2(list, (gsize)count * sizeof(*list));
    }
    qio_lookup_free(lookup);
    return count;
}
