/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyplace.c: where to wait for a channel in an asyncio loop.
 *
 * Owns: the choice between the descriptor that the channel names (a spot, pyaio.c), both directions
 * of it at once where a layer wants that, and a watch in the home's own loop, for a channel that
 * has no one descriptor; and who waits at a layer's descriptor while others use the layer, which
 * may leave that descriptor with nothing more to say, and so may who reads ahead on any channel.
 * Thread of the loop, GIL held; only looking again may be another's.
 */
#include "pyaio.h"
#include <stddef.h>

void qiopy_place_init(QioPlace *place, PyObject *owner, int (*fire)(PyObject *),
                      void (*abort)(PyObject *))
{
    for (int i = 0; i < 2; i++) {
        qio_list_init(&place->waits[i].link);
        place->waits[i].spot = NULL;
        place->waits[i].owner = owner;
        place->waits[i].fire = fire;
        place->waits[i].abort = abort;
    }
    place->watch = NULL;
    qio_list_init(&place->link);
}

/* 1 ready now, 0 *fd for *events, NOTSUP no one descriptor, -1 */
static int how(QioObject *channel, uint32_t condition, int32_t *fd, uint32_t *events)
{
    PyThreadState *unlocked;
    qioh_error error;
    int32_t status;

    if (condition & QIOH_OUT && condition & (QIOH_IN | QIOH_MORE)) {
        return QIOH_E_NOTSUP;
    }
    unlocked = qiopy_unlock(channel, 0);
    qiopy_error_init(&error);
    status = qioh_channel_get_poll(channel->h.channel, condition, fd, events, &error);
    qiopy_relock(channel, unlocked, -1, NULL);
    if (status < 0 && status != QIOH_E_NOTSUP) {
        qiopy_raise(&error);
        return -1;
    }
    return status;
}

static int watch(QioPlace *place, QioObject *channel, QioHome *home, uint32_t condition,
                 const char *method)
{
    PyObject *fire = PyObject_GetAttrString(place->waits[0].owner, method);

    place->watch = fire ? PyObject_CallMethod((PyObject *)home, "_watch", "OIO", channel,
                                              condition, fire) : NULL;
    Py_XDECREF(fire);
    return place->watch ? 0 : -1;
}

static bool has_layers(const QioObject *channel)
{
    return channel->keep != QIO_UNLOCK_BYTES;
}

int qiopy_place_wait(QioPlace *place, QioObject *channel, QioHome *home, uint32_t condition,
                     const char *method)
{
    uint32_t events = 0;
    int32_t fd = -1;
    bool linked = has_layers(channel) || condition != QIOH_OUT;
    unsigned looks = channel->aio->looks;
    int status;

    if (linked) {
        channel->inside |= QIO_AWAITED_AIO;
    }
    status = how(channel, condition, &fd, &events);
    if (status == 1) {
        return 0;
    }
    if (status == -1) {
        return -1;
    }
    if (status == QIOH_E_NOTSUP) {
        return watch(place, channel, home, condition, method) < 0 ? -1 : 1;
    }
    if ((events & QIOH_IN && qiopy_aio_wait(channel, home, fd, 0, &place->waits[0]) < 0) ||
        (events & QIOH_OUT && qiopy_aio_wait(channel, home, fd, 1, &place->waits[1]) < 0)) {
        qiopy_place_leave(place);
        if (!channel->ending || !PyErr_ExceptionMatches(PyExc_OSError)) {
            return -1;
        }
        PyErr_Clear();      /* closed meanwhile, as the next try says */
        return 0;
    }
    /* Another thread looked meanwhile, or told the loops of its close, and found nobody here. */
    if (channel->ending || (linked && channel->aio->looks != looks)) {
        qiopy_place_leave(place);
        return 0;
    }
    if (linked) {
        place->home = home;
        place->condition = condition;
        place->method = method;
        qio_list_append(&channel->aio->places, &place->link);
    }
    return 1;
}

void qiopy_place_leave(QioPlace *place)
{
    PyObject *watch = place->watch;
    PyObject *result, *e1, *e2, *e3;

    qio_list_remove(&place->link);
    qiopy_aio_unwait(&place->waits[0]);
    qiopy_aio_unwait(&place->waits[1]);
    if (!watch) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    place->watch = NULL;
    result = PyObject_CallMethod(watch, "remove", NULL);
    if (!result) {
        PyErr_Clear();                          /* its loop is closed */
    }
    Py_XDECREF(result);
    Py_DECREF(watch);
    PyErr_Restore(e1, e2, e3);
}

/* Calls it soon if the channel says that there is no need to wait, or fails: a try will tell. */
static void look(QioPlace *place, QioObject *channel)
{
    PyObject *owner = Py_NewRef(place->waits[0].owner);
    QioHome *home = (QioHome *)Py_NewRef((PyObject *)place->home);
    const char *method = place->method;
    PyObject *bound;
    uint32_t events = 0;
    int32_t fd = -1;

    if (how(channel, place->condition, &fd, &events) != 0) {
        PyErr_Clear();
        bound = PyObject_GetAttrString(owner, method);
        if (!bound || qiopy_aio_call_soon(home, bound, NULL, NULL) < 0) {
            PyErr_Clear();                      /* the loop is closed */
        }
        Py_XDECREF(bound);
    }
    Py_DECREF(home);
    Py_DECREF(owner);
}

void qiopy_place_look_again(QioObject *channel, const QioPlace *me)
{
    QioLink *places = channel->aio ? &channel->aio->places : NULL;
    PyObject *e1, *e2, *e3;
    QioLink rest;

    if (!places || qio_list_empty(places)) {
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    Py_INCREF(channel);
    /* A look may run Python, by which places come and go: each is put back before it is asked. */
    rest = *places;
    rest.next->prev = rest.prev->next = &rest;
    qio_list_init(places);
    while (!qio_list_empty(&rest)) {
        QioPlace *place = (QioPlace *)((char *)rest.next - offsetof(QioPlace, link));

        qio_list_remove(&place->link);
        qio_list_append(places, &place->link);
        if (place != me) {
            look(place, channel);
        }
    }
    Py_DECREF(channel);
    PyErr_Restore(e1, e2, e3);
}

static void tell_hook(QioObject *self)
{
    PyObject *hook = qiopy_hook(QIO_HOOK_LOOKED);
    PyObject *e1, *e2, *e3;
    PyObject *result;

    PyErr_Fetch(&e1, &e2, &e3);
    result = hook ? PyObject_CallOneArg(hook, (PyObject *)self) : Py_NewRef(Py_None);
    if (!result) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(result);
    PyErr_Restore(e1, e2, e3);
}

void qiopy_look_after(QioObject *self, unsigned way)
{
    unsigned awaited = self->inside & QIO_AWAITED;

    if (!has_layers(self) && way == QIO_WRITING) {
        return;                                 /* nothing moves in */
    }
    /* Who goes on waiting says so again. */
    self->inside &= (uint8_t)~QIO_AWAITED;
    if (awaited & QIO_AWAITED_AIO) {
        self->aio->looks++;
        qiopy_place_look_again(self, NULL);
        if (!qio_list_empty(&self->aio->places)) {
            self->inside |= QIO_AWAITED_AIO;
        }
    }
    if (awaited & QIO_AWAITED_HOOK) {
        tell_hook(self);
    }
}
