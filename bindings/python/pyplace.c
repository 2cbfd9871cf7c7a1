/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyplace.c: where to wait for a channel in an asyncio loop.
 *
 * Owns: the choice between the descriptor that the channel names (a spot, pyaio.c), both directions
 * of it at once where a layer wants that, and a watch in the home's own loop, for a channel that
 * has no one descriptor.  Thread of the loop, GIL held.
 */
#include "pyaio.h"

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

int qiopy_place_wait(QioPlace *place, QioObject *channel, QioHome *home, uint32_t condition,
                     const char *method)
{
    uint32_t events = 0;
    int32_t fd = -1;
    int status = how(channel, condition, &fd, &events);

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
        return -1;
    }
    return 1;
}

void qiopy_place_leave(QioPlace *place)
{
    PyObject *watch = place->watch;
    PyObject *result, *e1, *e2, *e3;

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
