/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/listener.c: listening sockets as one thing, and waiting for a client of any.
 *
 * Owns: QIONetListener, its set of sockets, accepting with a deadline, the end.
 * Rules: a client is only taken from the kernel when it is handed on at once; those that come
 * at the same moment stay in the kernel's queue, so none can be dropped and no queue is kept
 * here.  Waiting polls the sockets and the set's wake-up descriptor; after a shortage of
 * descriptors it polls the latter alone, for the pause.
 */
#include "net/listener-priv.h"

#include "base/sys.h"
#include "channel/channel-priv.h"
#include "net/listen.h"

/* ---- the object ---- */

typedef struct QIONetListenerClass {
    GObjectClass parent;
} QIONetListenerClass;

static GType qio_net_listener_get_type(void);
G_DEFINE_TYPE(QIONetListener, qio_net_listener, G_TYPE_OBJECT)

static void qio_net_listener_init(QIONetListener *listener)
{
    pthread_mutex_init(&listener->lock, NULL);
    listener->addresses = g_ptr_array_new_with_free_func((GDestroyNotify)qio_address_free);
}

static void qio_net_listener_finalize(GObject *object)
{
    QIONetListener *listener = (QIONetListener *)object;

    qio_net_listener_disconnect(listener);
    qio_listener_clients_free(listener->clients);
    qio_layers_unref(listener->layers);
    g_ptr_array_free(listener->addresses, TRUE);
    g_free(listener->name);
    pthread_mutex_destroy(&listener->lock);
    G_OBJECT_CLASS(qio_net_listener_parent_class)->finalize(object);
}

static void qio_net_listener_class_init(QIONetListenerClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = qio_net_listener_finalize;
}

static void __attribute__((constructor)) register_type(void)
{
    qio_type_register_builtin(TYPE_QIO_NET_LISTENER, qio_net_listener_get_type);
}

QIONetListener *qio_net_listener_new(void)
{
    return g_object_new(qio_net_listener_get_type(), NULL);
}

static void name_channel(QIONetListener *listener, QIOChannelSocket *sioc, const char *suffix)
{
    char *name = NULL;

    pthread_mutex_lock(&listener->lock);
    if (listener->name != NULL) {
        name = g_strdup_printf("%s-%s", listener->name, suffix);
    }
    pthread_mutex_unlock(&listener->lock);
    if (name != NULL) {
        qio_channel_set_name((QIOChannel *)sioc, name);
        g_free(name);
    }
}

void qio_net_listener_set_name(QIONetListener *listener, const char *name)
{
    QIOListenerSet *set;
    char *old;

    pthread_mutex_lock(&listener->lock);
    old = listener->name;
    listener->name = g_strdup(name);
    pthread_mutex_unlock(&listener->lock);
    g_free(old);

    set = qio_listener_get_set(listener);
    for (size_t i = 0; set != NULL && i < set->count; i++) {
        name_channel(listener, set->sockets[i].sioc, "listener");
    }
    qio_listener_set_unref(set);
}

/* ---- sets ---- */

QIOListenerSet *qio_listener_get_set(QIONetListener *listener)
{
    QIOListenerSet *set;

    pthread_mutex_lock(&listener->lock);
    set = listener->set;
    if (set != NULL) {
        atomic_fetch_add(&set->refs, 1);
    }
    pthread_mutex_unlock(&listener->lock);
    return set;
}

void qio_listener_set_unref(QIOListenerSet *set)
{
    if (set == NULL || atomic_fetch_sub(&set->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < set->count; i++) {
        qio_object_unref(set->sockets[i].sioc);
    }
    if (set->poll_fd >= 0) {
        qio_loop_forget_fd(set->poll_fd);
        sys_close(set->poll_fd);
    }
    sys_close(set->wake_fd);
    g_free(set);
}

/* One descriptor for all sockets.  Returns: 0, or -1 with errno */
static int set_make_poll_fd(QIOListenerSet *set)
{
    set->poll_fd = sys_epoll_create1(EPOLL_CLOEXEC);
    if (set->poll_fd < 0) {
        return -1;
    }
    for (size_t i = 0; i < set->count; i++) {
        struct epoll_event event = { .events = EPOLLIN };

        if (sys_epoll_ctl(set->poll_fd, EPOLL_CTL_ADD, set->sockets[i].fd, &event) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The sockets of old (or none) and one more. */
static QIOListenerSet *set_grow(const QIOListenerSet *old, QIOChannelSocket *sioc, Error **errp)
{
    size_t count = (old != NULL ? old->count : 0) + 1;
    QIOListenerSet *set = g_malloc0(sizeof(*set) + count * sizeof(set->sockets[0]));

    set->poll_fd = -1;
    set->wake_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (set->wake_fd < 0) {
        qio_error_set_errno(errp, errno, "cannot make the wake-up descriptor of a listener");
        g_free(set);
        return NULL;
    }
    atomic_init(&set->refs, 1);
    set->count = count;
    for (size_t i = 0; i + 1 < count; i++) {
        set->sockets[i] = old->sockets[i];
        qio_object_ref(set->sockets[i].sioc);
    }
    set->sockets[count - 1].sioc = qio_object_ref(sioc);
    set->sockets[count - 1].fd = qio_channel_get_fd((QIOChannel *)sioc, NULL);
    if (count > QIO_POLL_MAX && set_make_poll_fd(set) < 0) {
        qio_error_set_errno(errp, errno, "cannot make a descriptor for the %zu sockets of a "
                            "listener", count);
        qio_listener_set_unref(set);
        return NULL;
    }
    return set;
}

/* Another set has taken over: wakes who waits on this one, and gives it up. */
static void set_retire(QIOListenerSet *set)
{
    uint64_t one = 1;
    ssize_t n;

    if (set == NULL) {
        return;
    }
    do {
        n = sys_write(set->wake_fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    qio_listener_set_unref(set);
}

/* ---- opening ---- */

static bool can_grow(QIONetListener *listener, Error **errp)
{
    if (listener->closed) {
        qio_error_set(errp, QIO_ERROR_CLOSED, "the listener is closed");
        return false;
    }
    return true;
}

int qio_net_listener_add(QIONetListener *listener, QIOChannelSocket *sioc, Error **errp)
{
    QIOListenerSet *set, *old;
    QIOAddress *address;

    if (!qio_channel_has_feature((QIOChannel *)sioc, QIO_CHANNEL_FEATURE_LISTEN)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the channel is not a listening socket");
        return -1;
    }
    address = qio_channel_socket_get_local_address(sioc, errp);
    if (address == NULL) {
        return -1;
    }
    pthread_mutex_lock(&listener->lock);
    set = can_grow(listener, errp) ? set_grow(listener->set, sioc, errp) : NULL;
    if (set == NULL) {
        pthread_mutex_unlock(&listener->lock);
        qio_address_free(address);
        return -1;
    }
    old = listener->set;
    listener->set = set;
    if (old == NULL) {
        g_ptr_array_set_size(listener->addresses, 0);
    }
    g_ptr_array_add(listener->addresses, address);
    qio_listener_clients_follow(listener);
    pthread_mutex_unlock(&listener->lock);

    name_channel(listener, sioc, "listener");
    set_retire(old);
    qio_listener_kick_entries(listener);
    return 0;
}

int qio_listener_open_address(QIONetListener *listener, const QIOAddress *addr,
                              const QIOListenHow *how, Error **errp)
{
    GPtrArray *made = qio_address_listen(addr, how, errp);
    int ret = made != NULL ? 0 : -1;

    for (guint i = 0; ret == 0 && i < made->len; i++) {
        ret = qio_net_listener_add(listener, g_ptr_array_index(made, i), errp);
    }
    if (made != NULL) {
        g_ptr_array_unref(made);
    }
    return ret;
}

int qio_net_listener_open_sync(QIONetListener *listener, const QIOAddress *addr, int backlog,
                               Error **errp)
{
    QIOListenHow how = { .backlog = backlog, .deadline_ns = QIO_NEVER };

    return qio_listener_open_address(listener, addr, &how, errp);
}

QIONetListener *qio_listener_new_for_uri(const QIOUri *uri, Error **errp)
{
    QIOLayers *layers = NULL;
    QIONetListener *listener;

    if (uri->address == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "%s: cannot be listened on; tcp, unix, "
                      "abstract, vsock and fd can",
                      qio_scheme_name(uri->scheme));
        return NULL;
    }
    if (uri->layer_count > 0) {
        layers = qio_layers_new(uri, true, errp);
        if (layers == NULL) {
            return NULL;
        }
    }
    listener = qio_net_listener_new();
    listener->layers = layers;
    qio_net_listener_set_name(listener, qio_options_get_str(uri->options, "name", NULL));
    return listener;
}

void qio_listener_how(QIOListenHow *how, const QIOOptions *options)
{
    *how = (QIOListenHow){
        .backlog = (int)qio_options_get_int(options, "backlog", SOMAXCONN),
        .options = options,
        .deadline_ns = sys_deadline_ns(qio_options_get_ms(options, "timeout",
                                                          QIO_OPEN_TIMEOUT_MS)),
    };
}

static QIONetListener *open_uri(const QIOUri *uri, bool interruptible, Error **errp)
{
    QIONetListener *listener = qio_listener_new_for_uri(uri, errp);
    QIOListenHow how;

    if (listener == NULL) {
        return NULL;
    }
    qio_listener_how(&how, uri->options);
    how.interruptible = interruptible;
    if (qio_listener_open_address(listener, uri->address, &how, errp) < 0) {
        qio_object_unref(listener);
        return NULL;
    }
    return listener;
}

QIONetListener *qio_net_listener_open_uri_full(const char *text, const QIOOptions *options,
                                               bool interruptible, Error **errp)
{
    QIOUri *uri = qio_uri_parse_allowed(text, options, errp);
    QIONetListener *listener;

    if (uri == NULL) {
        return NULL;
    }
    listener = open_uri(uri, interruptible, errp);
    qio_uri_free(uri);
    return listener;
}

QIONetListener *qio_net_listener_open_uri(const char *text, const QIOOptions *options,
                                          Error **errp)
{
    return qio_net_listener_open_uri_full(text, options, false, errp);
}

/* ---- accepting ---- */

static bool is_shortage(const Error *err)
{
    switch (qio_error_get_errno(err)) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return true;
    default:
        return false;
    }
}

QIOAcceptResult qio_listener_try_accept(QIONetListener *listener, QIOListenerSet *set,
                                        size_t index, QIOChannelSocket **client, Error **errp)
{
    Error *err = NULL;
    QIOAcceptResult result = QIO_ACCEPT_FAILED;

    *client = qio_channel_socket_try_accept(set->sockets[index].sioc, &err);
    if (*client != NULL) {
        atomic_store(&listener->backoff_ms, 0);
        name_channel(listener, *client, "client");
        return QIO_ACCEPT_CLIENT;
    }
    if (qio_error_get_code(err) == QIO_ERROR_AGAIN) {
        result = QIO_ACCEPT_NOBODY;
    } else if (is_shortage(err)) {
        result = QIO_ACCEPT_SHORTAGE;
    }
    if (result == QIO_ACCEPT_FAILED) {
        qio_error_propagate(errp, err);
    } else {
        qio_error_free(err);
    }
    return result;
}

int qio_listener_back_off(QIONetListener *listener)
{
    int ms = atomic_load(&listener->backoff_ms);

    ms = CLAMP(ms * 2, QIO_BACKOFF_MIN_MS, QIO_BACKOFF_MAX_MS);
    atomic_store(&listener->backoff_ms, ms);
    qio_listener_pause_entries(listener, ms);
    return ms;
}

/* One round over the sockets, starting with the one whose turn it is. */
static QIOAcceptResult try_sockets(QIONetListener *listener, QIOListenerSet *set,
                                   QIOChannelSocket **client, Error **errp)
{
    size_t first = atomic_load(&listener->next);

    for (size_t i = 0; i < set->count; i++) {
        size_t index = (first + i) % set->count;
        QIOAcceptResult result = qio_listener_try_accept(listener, set, index, client, errp);

        if (result != QIO_ACCEPT_NOBODY) {
            atomic_store(&listener->next, index + 1);
            return result;
        }
    }
    return QIO_ACCEPT_NOBODY;
}

/* Sleeps until a client may be there, the set is retired, or the deadline.  Returns: as
 * qio_poll_fds() */
static int wait_on_set(QIOListenerSet *set, bool sockets_too, int64_t deadline_ns,
                       bool interruptible)
{
    size_t count = sockets_too ? set->count : 0;
    struct pollfd *fds = g_newa(struct pollfd, QIO_POLL_MAX + 1);
    struct pollfd *many = NULL;
    int ret;

    if (count > QIO_POLL_MAX) {
        many = fds = g_new(struct pollfd, count + 1);
    }
    for (size_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){ .fd = set->sockets[i].fd, .events = POLLIN };
    }
    fds[count] = (struct pollfd){ .fd = set->wake_fd, .events = POLLIN };
    ret = qio_poll_fds(fds, count + 1, deadline_ns, interruptible);
    g_free(many);
    return ret;
}

/* The set to wait on.  NULL with an error; waited: the caller had one already. */
static QIOListenerSet *get_set(QIONetListener *listener, bool waited, Error **errp)
{
    QIOListenerSet *set = qio_listener_get_set(listener);
    bool closed;

    if (set != NULL) {
        return set;
    }
    pthread_mutex_lock(&listener->lock);
    closed = listener->closed;
    pthread_mutex_unlock(&listener->lock);
    if (waited) {
        qio_error_set(errp, QIO_ERROR_CANCELLED, "the listener was closed while waiting for a "
                      "client");
    } else if (closed) {
        qio_error_set(errp, QIO_ERROR_CLOSED, "the listener is closed");
    } else {
        qio_error_set(errp, QIO_ERROR_INVAL, "the listener has no socket: open one first");
    }
    return NULL;
}

static bool is_current(QIONetListener *listener, const QIOListenerSet *set)
{
    bool current;

    pthread_mutex_lock(&listener->lock);
    current = listener->set == set;
    pthread_mutex_unlock(&listener->lock);
    return current;
}

static void set_timeout_error(Error **errp, bool shortage, int timeout_ms)
{
    if (shortage) {
        qio_error_set(errp, QIO_ERROR_TIMEOUT, "no client taken within %d ms: the process is out "
                      "of descriptors", timeout_ms);
    } else {
        qio_error_set(errp, QIO_ERROR_TIMEOUT, "no client came within %d ms", timeout_ms);
    }
}

/* What follows a round that took nobody: 0 go round again, -1 give up. */
static int wait_for_more(QIONetListener *listener, QIOListenerSet *set, bool shortage,
                         int timeout_ms, int64_t deadline_ns, bool interruptible, Error **errp)
{
    int64_t until_ns = deadline_ns;

    if (shortage) {
        until_ns = MIN(deadline_ns, sys_deadline_ns(qio_listener_back_off(listener)));
    }
    if (timeout_ms >= 0 && sys_ms_left(deadline_ns) == 0) {
        set_timeout_error(errp, shortage, timeout_ms);
        return -1;
    }
    if (wait_on_set(set, !shortage, until_ns, interruptible) >= 0) {
        return 0;
    }
    if (errno == EINTR) {
        qio_error_set(errp, QIO_ERROR_INTR, "a signal came while waiting for a client");
    } else {
        qio_error_set_errno(errp, errno, "cannot wait for a client");
    }
    return -1;
}

QIOChannelSocket *qio_listener_accept_socket(QIONetListener *listener, int timeout_ms,
                                             bool interruptible, Error **errp)
{
    int64_t deadline_ns = sys_deadline_ns(timeout_ms);
    QIOChannelSocket *client = NULL;
    QIOListenerSet *set;
    bool waited = false;
    int ret = 0;

    while (client == NULL && ret == 0 && (set = get_set(listener, waited, errp)) != NULL) {
        Error *err = NULL;
        QIOAcceptResult result = try_sockets(listener, set, &client, &err);

        if (result == QIO_ACCEPT_FAILED && is_current(listener, set)) {
            qio_error_propagate(errp, err);
            ret = -1;
        } else if (result == QIO_ACCEPT_FAILED) {
            qio_error_free(err);    /* closed under our hands: the next round says how */
        } else if (result != QIO_ACCEPT_CLIENT) {
            ret = wait_for_more(listener, set, result == QIO_ACCEPT_SHORTAGE, timeout_ms,
                                deadline_ns, interruptible, errp);
        }
        qio_listener_set_unref(set);
        waited = true;
    }
    return client;
}

QIOChannelSocket *qio_net_listener_accept(QIONetListener *listener, int timeout_ms,
                                          bool interruptible, Error **errp)
{
    if (listener->layers != NULL) {
        qio_error_set(errp, QIO_ERROR_NOTSUP, "the listener's clients have layers, which a socket "
                      "alone would be without: qio_net_listener_accept_channel() has them");
        return NULL;
    }
    return qio_listener_accept_socket(listener, timeout_ms, interruptible, errp);
}

QIOChannelSocket *qio_net_listener_wait_client(QIONetListener *listener)
{
    return qio_net_listener_accept(listener, -1, false, NULL);
}

/* ---- what is known ---- */

QIOAddress *qio_net_listener_get_address(QIONetListener *listener, size_t index, Error **errp)
{
    QIOAddress *address = NULL;
    size_t count;

    pthread_mutex_lock(&listener->lock);
    count = listener->addresses->len;
    if (index < count) {
        address = qio_address_copy(g_ptr_array_index(listener->addresses, index));
    }
    pthread_mutex_unlock(&listener->lock);
    if (address == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "there is no address %zu; the listener has %zu",
                      index, count);
    }
    return address;
}

int qio_net_listener_get_fd(QIONetListener *listener, size_t index, Error **errp)
{
    QIOListenerSet *set = get_set(listener, false, errp);
    int fd = -1;

    if (set == NULL) {
        return -1;
    }
    if (index < set->count) {
        fd = set->sockets[index].fd;
    } else {
        qio_error_set(errp, QIO_ERROR_INVAL, "there is no descriptor %zu; the listener has %zu",
                      index, set->count);
    }
    qio_listener_set_unref(set);
    return fd;
}

bool qio_net_listener_is_connected(QIONetListener *listener)
{
    bool connected;

    pthread_mutex_lock(&listener->lock);
    connected = listener->set != NULL;
    pthread_mutex_unlock(&listener->lock);
    return connected;
}

/* ---- the end ---- */

static int end_sockets(QIONetListener *listener, bool for_good, Error **errp)
{
    QIOListenerSet *set;
    int ret = 0;

    pthread_mutex_lock(&listener->lock);
    set = listener->set;
    listener->set = NULL;
    listener->closed |= for_good;
    qio_listener_clients_follow(listener);
    pthread_mutex_unlock(&listener->lock);
    if (set == NULL) {
        return 0;
    }
    qio_listener_end_entries(listener);
    for (size_t i = 0; i < set->count; i++) {
        if (qio_channel_close((QIOChannel *)set->sockets[i].sioc, errp) < 0) {
            ret = -1;
        }
    }
    set_retire(set);
    return ret;
}

void qio_net_listener_disconnect(QIONetListener *listener)
{
    end_sockets(listener, false, NULL);
}

int qio_net_listener_close(QIONetListener *listener, Error **errp)
{
    return end_sockets(listener, true, errp);
}

void qio_net_listener_abandon(QIONetListener *listener)
{
    QIOListenerSet *set = listener->set;

    for (size_t i = 0; set != NULL && i < set->count; i++) {
        QIOChannel *ioc = (QIOChannel *)set->sockets[i].sioc;
        int fd = qio_channel_class(ioc)->io_take_fd(ioc, NULL);

        if (fd >= 0) {
            sys_close(fd);
        }
    }
    if (set != NULL) {
        if (set->poll_fd >= 0) {
            sys_close(set->poll_fd);
        }
        sys_close(set->wake_fd);
        listener->set = NULL;
    }
}
