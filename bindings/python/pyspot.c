/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyspot.c: descriptors in an asyncio loop.
 *
 * Owns: spots.  One is registered with add_reader() or add_writer() when somebody first waits,
 * stays so after the wait, and is removed when it fires with nobody waiting: an await that follows
 * an await costs no system call.  In the thread of the loop, with the GIL held.
 */
#include "pyaio.h"
#include <stddef.h>
#include <structmember.h>
#include <unistd.h>

static PyTypeObject *spot_type;

/* Drops what a loop's method answers; its failure is the caller's. */
static int call_method(PyObject *method, PyObject *a, PyObject *b)
{
    PyObject *arguments[] = {a, b};
    PyObject *result = PyObject_Vectorcall(method, arguments, b ? 2 : 1, NULL);

    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* A forked child shares the kernel's side of the loop: what it removed would be gone there, too. */
static int spot_register(QioSpot *spot, bool on)
{
    PyObject *fd;
    int result = -1;

    if (!on && spot->home->pid != getpid()) {
        spot->registered = false;
        return 0;
    }
    fd = spot->home->loop ? PyLong_FromLong(spot->fd) : NULL;

    if (fd) {
        result = on ? call_method(spot->home->add[spot->way], fd, (PyObject *)spot)
                    : call_method(spot->home->remove[spot->way], fd, NULL);
        Py_DECREF(fd);
    }
    spot->registered = on && result == 0;
    return result;
}

void qiopy_aio_unwait(QioWait *wait)
{
    QioSpot *spot = wait->spot;

    if (spot) {
        qio_list_remove(&wait->link);
        wait->spot = NULL;
        Py_DECREF(wait->owner);
        Py_DECREF(spot);
    }
}

/* Takes the wait off and gives its owner. */
static PyObject *take_off(QioWait *wait)
{
    PyObject *owner = Py_NewRef(wait->owner);

    qiopy_aio_unwait(wait);
    return owner;
}

/* Calls who waits; what they begin to wait for meanwhile is for the next time.  One that fails
 * (Ctrl-C in a task) leaves the others waiting. */
static PyObject *spot_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    QioSpot *spot = (QioSpot *)self;
    QioLink firing;
    int result = 0;

    if (qio_list_empty(&spot->waiting)) {
        return spot->home && spot->registered && spot_register(spot, false) < 0
               ? NULL : Py_NewRef(Py_None);
    }
    Py_INCREF(self);
    firing = spot->waiting;
    firing.next->prev = firing.prev->next = &firing;
    qio_list_init(&spot->waiting);
    while (!qio_list_empty(&firing) && result == 0) {
        QioWait *wait = (QioWait *)firing.next;
        PyObject *owner = take_off(wait);

        result = wait->fire(owner);
        Py_DECREF(owner);
    }
    while (!qio_list_empty(&firing)) {
        QioLink *link = firing.next;

        qio_list_remove(link);
        qio_list_append(&spot->waiting, link);
    }
    Py_DECREF(self);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

void qiopy_spot_give_up(QioSpot *spot)
{
    PyObject *e1, *e2, *e3;
    PyObject *key;

    if (!spot->home) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    if (spot->registered && spot_register(spot, false) < 0) {
        PyErr_Clear();                          /* the loop is closed */
    }
    while (!qio_list_empty(&spot->waiting)) {
        QioWait *wait = (QioWait *)spot->waiting.next;
        PyObject *owner = take_off(wait);

        wait->abort(owner);
        Py_DECREF(owner);
    }
    key = spot->home->spots ? PyLong_FromLong(spot->fd * 2L + spot->way) : NULL;
    if (key && PyDict_GetItem(spot->home->spots, key) == (PyObject *)spot) {
        PyDict_DelItem(spot->home->spots, key);
    }
    Py_XDECREF(key);
    Py_CLEAR(spot->home);
    PyErr_Restore(e1, e2, e3);
}

/* give_up(handle): the handle is kept for so long. */
static PyObject *spot_give_up_method(PyObject *self, PyObject *handle)
{
    qiopy_spot_give_up((QioSpot *)self);
    Py_RETURN_NONE;
}

static QioSpot *spot_new(QioHome *home, int fd, int way, PyObject *key)
{
    QioSpot *spot = PyObject_GC_New(QioSpot, spot_type);

    if (!spot) {
        return NULL;
    }
    spot->call = spot_call;
    spot->home = (QioHome *)Py_NewRef((PyObject *)home);
    qio_list_init(&spot->waiting);
    spot->fd = fd;
    spot->way = way;
    spot->registered = false;
    PyObject_GC_Track(spot);
    if (PyDict_SetItem(home->spots, key, (PyObject *)spot) < 0) {
        Py_CLEAR(spot);
    }
    return spot;
}

/* A new reference.  A channel that is new to a spot does not believe that it is registered: the
 * descriptor may have been closed without a word, and this be another one. */
static QioSpot *spot_find(QioHome *home, int fd, int way)
{
    PyObject *key = PyLong_FromLong(fd * 2L + way);
    QioSpot *spot = NULL;

    if (!key) {
        return NULL;
    }
    spot = (QioSpot *)PyDict_GetItemWithError(home->spots, key);
    if (spot) {
        Py_INCREF(spot);
        if (spot->registered && (spot_register(spot, false) < 0 ||
                                 spot_register(spot, true) < 0)) {
            Py_CLEAR(spot);
        }
    } else if (!PyErr_Occurred()) {
        spot = spot_new(home, fd, way, key);
    }
    Py_DECREF(key);
    return spot;
}

/* The spot, borrowed from what the channel keeps. */
static QioSpot *spot_of(QioAio *aio, QioHome *home, int fd, int way)
{
    QioSpot *spot;

    for (unsigned i = 0; i < QIO_AIO_SPOTS; i++) {
        spot = aio->spots[i];
        if (spot && spot->home == home && spot->fd == fd && spot->way == way) {
            return spot;
        }
    }
    spot = spot_find(home, fd, way);
    if (spot) {
        Py_XSETREF(aio->spots[aio->spot], spot);
        aio->spot = (aio->spot + 1) % QIO_AIO_SPOTS;
    }
    return spot;
}

int qiopy_aio_wait(QioObject *channel, QioHome *home, int fd, int way, QioWait *wait)
{
    QioSpot *spot = spot_of(channel->aio, home, fd, way);

    if (!spot || (!spot->registered && spot_register(spot, true) < 0)) {
        return -1;
    }
    wait->spot = (QioSpot *)Py_NewRef((PyObject *)spot);
    Py_INCREF(wait->owner);
    qio_list_append(&spot->waiting, &wait->link);
    return 0;
}

static int spot_traverse(PyObject *self, visitproc visit, void *arg)
{
    QioSpot *spot = (QioSpot *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(spot->home);
    for (QioLink *link = spot->waiting.next; link != &spot->waiting; link = link->next) {
        Py_VISIT(((QioWait *)link)->owner);
    }
    return 0;
}

static int spot_clear(PyObject *self)
{
    QioSpot *spot = (QioSpot *)self;

    Py_CLEAR(spot->home);
    while (!qio_list_empty(&spot->waiting)) {
        qiopy_aio_unwait((QioWait *)spot->waiting.next);
    }
    return 0;
}

/* A wait holds a reference: nobody waits. */
static void spot_dealloc(PyObject *self)
{
    PyTypeObject *class = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_CLEAR(((QioSpot *)self)->home);
    PyObject_GC_Del(self);
    Py_DECREF(class);
}

static PyObject *spot_repr(PyObject *self)
{
    QioSpot *spot = (QioSpot *)self;

    return PyUnicode_FromFormat("<qio fd=%d %s>", spot->fd, spot->way ? "writing" : "reading");
}

static PyMemberDef spot_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(QioSpot, call), READONLY, NULL},
    {NULL},
};

static PyMethodDef spot_methods[] = {
    {"give_up", spot_give_up_method, METH_O, PyDoc_STR("give_up($self, handle, /)\n--\n\n")},
    {NULL},
};

int qiopy_spot_init(void)
{
    PyType_Slot spot_slots[] = {
        {Py_tp_dealloc, spot_dealloc}, {Py_tp_traverse, spot_traverse},
        {Py_tp_clear, spot_clear}, {Py_tp_call, PyVectorcall_Call}, {Py_tp_repr, spot_repr},
        {Py_tp_members, spot_members}, {Py_tp_methods, spot_methods}, {0, NULL},
    };
    PyType_Spec spot_spec = {
        "qio._qio.Spot", sizeof(QioSpot), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
        spot_slots,
    };

    spot_type = (PyTypeObject *)qiopy_type_without_new(&spot_spec);
    return spot_type ? 0 : -1;
}
