/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyaio.c: asyncio loops, and what of them a channel keeps.
 *
 * Owns: homes, one for each loop that qio.aio was used in, and what happens to the spots (pyspot.c)
 * of a channel that ends: before it closes its descriptor the spots of that are given up, or the
 * loop would take the next descriptor of that number for this one.
 * A home belongs to the thread of its loop; a close on another thread is done by that one.
 */
/*
 * pyaio.c: descriptors in an asyncio loop.
 *
 * Owns: homes, one for each loop that qio.aio was used in, and their spots.  A spot is registered
 * with add_reader() or add_writer() when somebody first waits, stays so after the wait, and is
 * removed when it fires with nobody waiting: an await that follows an await costs no system call.
 * Before a channel closes its descriptor the spots of it are given up, or the loop would take the
 * next descriptor of that number for this one.
 * A home belongs to the thread of its loop; a close on another thread is done by that one.
 */
#include "pyaio.h"
#include <stddef.h>
#include <structmember.h>
#include <unistd.h>

static PyTypeObject *home_type;
static PyObject *get_running_loop, *home_class;     /* set by qio.aio: see set_aio() */
static PyObject *home_attribute;                    /* the name "_qio_home" */
static PyObject *context_names;                     /* ("context",) */
static QioLink homes = {&homes, &homes};            /* QioHome.link, borrowed */

/* ---- homes ---- */

static int home_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"add_reader", "add_writer", "remove_reader",
                                        "remove_writer", "call_soon", "call_soon_threadsafe"};
    QioHome *home = (QioHome *)self;
    PyObject **methods[] = {&home->add[0], &home->add[1], &home->remove[0], &home->remove[1],
                            &home->call_soon, &home->call_soon_threadsafe};
    PyObject *loop;

    if (!PyArg_ParseTuple(args, "O", &loop)) {
        return -1;
    }
    if (home->loop) {
        PyErr_SetString(PyExc_RuntimeError, "a home is made once");
        return -1;
    }
    qio_list_append(&homes, &home->link);
    home->loop = Py_NewRef(loop);
    home->thread = PyThread_get_thread_ident();
    home->pid = getpid();
    home->spots = PyDict_New();
    for (size_t i = 0; home->spots && i < sizeof names / sizeof *names; i++) {
        *methods[i] = PyObject_GetAttrString(loop, names[i]);
        if (!*methods[i]) {
            return -1;
        }
    }
    return home->spots ? 0 : -1;
}

static int home_traverse(PyObject *self, visitproc visit, void *arg)
{
    QioHome *home = (QioHome *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(home->loop);
    Py_VISIT(home->spots);
    Py_VISIT(home->call_soon);
    Py_VISIT(home->call_soon_threadsafe);
    for (int i = 0; i < 2; i++) {
        Py_VISIT(home->add[i]);
        Py_VISIT(home->remove[i]);
    }
    return 0;
}

static int home_clear(PyObject *self)
{
    QioHome *home = (QioHome *)self;

    Py_CLEAR(home->loop);
    Py_CLEAR(home->spots);
    Py_CLEAR(home->call_soon);
    Py_CLEAR(home->call_soon_threadsafe);
    for (int i = 0; i < 2; i++) {
        Py_CLEAR(home->add[i]);
        Py_CLEAR(home->remove[i]);
    }
    return 0;
}

static void home_dealloc(PyObject *self)
{
    PyTypeObject *class = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (((QioHome *)self)->weakrefs) {
        PyObject_ClearWeakRefs(self);
    }
    if (((QioHome *)self)->link.next) {
        qio_list_remove(&((QioHome *)self)->link);
    }
    home_clear(self);
    class->tp_free(self);
    Py_DECREF(class);
}

/* The home is an attribute of its loop, so that both go together. */
QioHome *qiopy_aio_home(void)
{
    PyObject *loop = get_running_loop ? PyObject_CallNoArgs(get_running_loop) : NULL;
    PyObject *home;

    if (!loop) {
        if (!get_running_loop) {
            PyErr_SetString(PyExc_RuntimeError, "import qio.aio first");
        }
        return NULL;
    }
    home = PyObject_GetAttr(loop, home_attribute);
    if (!home && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        home = PyObject_CallOneArg(home_class, loop);
        if (home && PyObject_SetAttr(loop, home_attribute, home) < 0) {
            Py_CLEAR(home);
        }
    }
    Py_DECREF(loop);
    if (home && !PyObject_TypeCheck(home, home_type)) {
        PyErr_SetString(PyExc_TypeError, "the loop's _qio_home is not ours");
        Py_CLEAR(home);
    }
    Py_XDECREF(home);                           /* the loop has it */
    return (QioHome *)home;
}

int qiopy_aio_call_soon(QioHome *home, PyObject *callback, PyObject *argument, PyObject *context)
{
    PyObject *arguments[] = {callback, argument, argument ? context : NULL};
    size_t count = argument ? 2 : 1;
    bool here = home->thread == PyThread_get_thread_ident();
    PyObject *result;

    if (!here && home->pid != getpid()) {
        return 0;                               /* a forked child would wake its parent */
    }
    arguments[count] = context;
    result = PyObject_Vectorcall(here ? home->call_soon : home->call_soon_threadsafe, arguments,
                                 count,
                                 context ? context_names : NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- what a channel keeps ---- */

QioAio *qiopy_aio_of(QioObject *channel)
{
    if (!channel->aio) {
        channel->aio = PyMem_Calloc(1, sizeof *channel->aio);
        if (!channel->aio) {
            PyErr_NoMemory();
            return NULL;
        }
        qio_list_init(&channel->aio->writers);
        qio_list_init(&channel->aio->places);
    }
    return channel->aio;
}

int qiopy_aio_traverse(QioObject *channel, visitproc visit, void *arg)
{
    for (unsigned i = 0; channel->aio && i < QIO_AIO_SPOTS; i++) {
        Py_VISIT(channel->aio->spots[i]);
    }
    return 0;
}

/* Adds the spots of a descriptor, in whatever loop.  No other code runs in here. */
static int spots_of_fd(int fd, PyObject *list)
{
    for (QioLink *link = homes.next; link != &homes; link = link->next) {
        PyObject *spots = ((QioHome *)((char *)link - offsetof(QioHome, link)))->spots;

        for (int way = 0; spots && way < 2; way++) {
            PyObject *key = PyLong_FromLong(fd * 2L + way);
            PyObject *spot = key ? PyDict_GetItemWithError(spots, key) : NULL;

            Py_XDECREF(key);
            if (spot && PyList_Append(list, spot) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* The descriptors of a channel: its own, or those that it lies on.  Returns: how many */
static int descriptors(QioObject *self, int32_t fds[2])
{
    PyThreadState *unlocked = qiopy_unlock(self, 0);
    qioh_channel *channel = self->h.channel, *below;
    uint32_t events;
    int count = 0;

    while ((below = qioh_channel_get_transport(channel, NULL)) != NULL) {
        channel = below;
    }
    fds[0] = qioh_channel_get_fd(channel, NULL);
    if (fds[0] >= 0) {
        count = 1;
    } else {
        count += qioh_channel_get_poll(channel, QIOH_IN, &fds[count], &events, NULL) == 0;
        count += qioh_channel_get_poll(channel, QIOH_OUT, &fds[count], &events, NULL) == 0;
    }
    qiopy_relock(self, unlocked, -1, NULL);
    return count;
}

/* The spots that a channel's descriptors have in any loop, as a list; NULL for none. */
static PyObject *spots_of(QioObject *channel)
{
    PyObject *list = PyList_New(0);
    int32_t fds[2];

    for (int i = list ? descriptors(channel, fds) : 0; i-- > 0;) {
        spots_of_fd(fds[i], list);
    }
    for (unsigned i = 0; list && channel->aio && i < QIO_AIO_SPOTS; i++) {
        if (channel->aio->spots[i]) {
            PyList_Append(list, (PyObject *)channel->aio->spots[i]);
        }
    }
    PyErr_Clear();
    return list;
}

/* Whether another thread may be looking at the descriptor just now. */
static bool is_foreign(const QioSpot *spot)
{
    PyObject *running;
    bool result;

    if (!spot->home || !spot->home->loop || !spot->registered ||
        spot->home->thread == PyThread_get_thread_ident()) {
        return false;
    }
    running = PyObject_CallMethod(spot->home->loop, "is_running", NULL);
    result = running && PyObject_IsTrue(running) == 1;
    Py_XDECREF(running);
    PyErr_Clear();
    return result;
}

/*
 * A loop on another thread watches: it has to stop before the descriptor is closed (libuv aborts
 * otherwise), so method is called there, with the argument.  Returns: 1, 0 when the loop has ended
 */
static int ask(QioSpot *spot, PyObject *object, const char *method, PyObject *argument)
{
    PyObject *bound = PyObject_GetAttrString(object, method);
    int result = bound ? qiopy_aio_call_soon(spot->home, bound, argument, NULL) : -1;

    Py_XDECREF(bound);
    if (result < 0) {
        PyErr_Clear();
        spot->registered = false;
    }
    return result == 0;
}

int qiopy_aio_closing(QioObject *channel, bool close)
{
    PyObject *e1, *e2, *e3;
    PyObject *list;
    int asked = 0;

    if (qio_list_empty(&homes) || channel->closed) {
        return 0;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    list = spots_of(channel);
    for (Py_ssize_t i = 0; list && !asked && i < PyList_GET_SIZE(list); i++) {
        QioSpot *spot = (QioSpot *)PyList_GET_ITEM(list, i);

        if (is_foreign(spot)) {
            asked = !close || ask(spot, (PyObject *)channel, "close", NULL);
        } else {
            qiopy_spot_give_up(spot);
        }
    }
    Py_XDECREF(list);
    if (channel->aio && (close || !asked)) {
        qiopy_await_abort(channel->aio, QIO_READING | QIO_WRITING);
    }
    PyErr_Restore(e1, e2, e3);
    return asked;
}

static void drop_handle(PyObject *capsule)
{
    qioh_channel *channel = PyCapsule_GetPointer(capsule, NULL);

    Py_BEGIN_ALLOW_THREADS
    qioh_channel_unref(channel);
    Py_END_ALLOW_THREADS
}

/* The object goes, and nobody waits: but a spot may still be registered. */
static void drop_spots(QioObject *channel)
{
    PyObject *list = channel->closed ? NULL : spots_of(channel);

    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++) {
        QioSpot *spot = (QioSpot *)PyList_GET_ITEM(list, i);
        PyObject *handle;

        if (!is_foreign(spot)) {
            qiopy_spot_give_up(spot);
        } else if (qioh_channel_ref(channel->h.channel, NULL)) {
            handle = PyCapsule_New(channel->h.channel, NULL, drop_handle);
            if (handle) {
                ask(spot, (PyObject *)spot, "give_up", handle);
                Py_DECREF(handle);
            }
        }
    }
    Py_XDECREF(list);
    PyErr_Clear();
}

void qiopy_aio_free(QioObject *channel)
{
    PyObject *e1, *e2, *e3;
    QioAio *aio = channel->aio;

    PyErr_Fetch(&e1, &e2, &e3);
    drop_spots(channel);
    channel->aio = NULL;
    for (unsigned i = 0; i < QIO_AIO_SPOTS; i++) {
        Py_XDECREF(aio->spots[i]);
    }
    PyMem_Free(aio);
    PyErr_Restore(e1, e2, e3);
}

/* ---- making the types ---- */

PyObject *qiopy_set_aio(PyObject *running, PyObject *class)
{
    Py_XSETREF(get_running_loop, Py_NewRef(running));
    Py_XSETREF(home_class, Py_NewRef(class));
    Py_RETURN_NONE;
}

static PyMemberDef home_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(QioHome, weakrefs), READONLY, NULL},
    {"loop", T_OBJECT_EX, offsetof(QioHome, loop), READONLY, "The asyncio loop."},
    {NULL},
};

int qiopy_aio_init(PyObject *dict)
{
    PyType_Slot home_slots[] = {
        {Py_tp_init, home_init}, {Py_tp_dealloc, home_dealloc},
        {Py_tp_traverse, home_traverse}, {Py_tp_clear, home_clear},
        {Py_tp_members, home_members}, {Py_tp_doc, "An asyncio loop; see qio.aio."}, {0, NULL},
    };
    PyType_Spec home_spec = {
        "qio._qio.Home", sizeof(QioHome), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, home_slots,
    };

    home_attribute = PyUnicode_InternFromString("_qio_home");
    context_names = Py_BuildValue("(s)", "context");
    home_type = (PyTypeObject *)PyType_FromSpec(&home_spec);
    if (!home_attribute || !context_names || !home_type || qiopy_spot_init() < 0) {
        return -1;
    }
    return PyDict_SetItemString(dict, "Home", (PyObject *)home_type) < 0 ||
           qiopy_op_init(dict) < 0 || qiopy_async_init(dict) < 0 ? -1
           : qiopy_transport_init(dict);
}
