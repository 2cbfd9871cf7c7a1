/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyloop.c: loops, and Python functions that the library calls.
 *
 * Owns: the shell of each registered function.  The library holds the shell (as user_data), the
 * Loop object owns the function through its list of shells, and the collector sees it there: a
 * cycle from a callback back to its loop is found.  A shell without a function is dead: a
 * trampoline that finds it asks for removal.  Rule: a function is dropped last, after the lists
 * are in order again, because dropping it may run any code.
 * Trampolines run on the dispatching thread without the GIL and take it; once the interpreter
 * ends they take nothing and answer "remove".
 */
#include "qiopy.h"

struct QioShell {
    int refs;                   /* the loop's list, the library, the Watch object */
    QioObject *owner;           /* the loop, borrowed; NULL when unlinked */
    PyObject *fn;
    PyObject *target;           /* what is watched, so that it lives as long as its watch */
    QioShell *next, **pprev;
};

static void shell_unref(QioShell *shell)
{
    if (--shell->refs == 0) {
        PyMem_Free(shell);
    }
}

/* Takes the shell out of its loop's list; what it held is for the caller to drop. */
static void unlink_shell(QioShell *shell, PyObject **fn, PyObject **target)
{
    *fn = shell->fn;
    *target = shell->target;
    shell->fn = shell->target = NULL;
    if (shell->owner) {
        *shell->pprev = shell->next;
        if (shell->next) {
            shell->next->pprev = shell->pprev;
        }
        shell->owner = NULL;
        shell_unref(shell);
    }
}

static void kill_shell(QioShell *shell)
{
    PyObject *fn, *target;

    unlink_shell(shell, &fn, &target);
    Py_XDECREF(target);
    Py_XDECREF(fn);
}

/* A shell with three references: list, library, caller. */
static QioShell *new_shell(QioObject *loop, const char *name, PyObject *fn, PyObject *target)
{
    QioShell *shell;

    if (!PyCallable_Check(fn)) {
        PyErr_Format(PyExc_TypeError, "%s has to be callable, not %.100s", name,
                     Py_TYPE(fn)->tp_name);
        return NULL;
    }
    shell = PyMem_Calloc(1, sizeof *shell);
    if (!shell) {
        PyErr_NoMemory();
        return NULL;
    }
    shell->refs = 3;
    shell->owner = loop;
    shell->fn = Py_NewRef(fn);
    shell->target = Py_XNewRef(target);
    shell->next = loop->shells;
    shell->pprev = &loop->shells;
    if (shell->next) {
        shell->next->pprev = &shell->next;
    }
    loop->shells = shell;
    return shell;
}

/* ---- trampolines ---- */

/* Calls the function with up to two arguments, which are given away; NULL ends them. */
static int32_t call(QioShell *shell, PyObject *a, PyObject *b, qioh_error *error)
{
    PyObject *fn = Py_NewRef(shell->fn);
    PyObject *result = PyErr_Occurred() ? NULL : PyObject_CallFunctionObjArgs(fn, a, b, NULL);
    int32_t keep;

    if (result) {
        keep = result != Py_False;
        Py_DECREF(result);
    } else {
        keep = qiopy_stash(fn, error);
    }
    Py_XDECREF(a);
    Py_XDECREF(b);
    Py_DECREF(fn);
    return keep;
}

static int32_t on_ready(QioShell *shell, uint32_t condition, qioh_error *error)
{
    PyGILState_STATE state;
    int32_t keep = 0;

    if (qiopy_finalizing()) {
        return 0;
    }
    state = PyGILState_Ensure();
    if (shell->fn) {
        keep = call(shell, Py_NewRef(shell->target), qiopy_condition(condition), error);
    }
    PyGILState_Release(state);
    return keep;
}

static int32_t on_channel(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                          void *user_data, qioh_error *error)
{
    return on_ready(user_data, condition, error);
}

static int32_t on_listener(qioh_watch *watch, qioh_listener *listener, void *user_data,
                           qioh_error *error)
{
    bool closed = qioh_listener_get_fd(listener, 0, NULL) == QIOH_E_CLOSED;

    return on_ready(user_data, closed ? QIOH_NVAL : QIOH_IN, error);
}

static int32_t on_fd(qioh_watch *watch, int32_t fd, uint32_t condition, void *user_data,
                     qioh_error *error)
{
    return on_ready(user_data, condition, error);
}

static int32_t on_timer(qioh_watch *watch, void *user_data, qioh_error *error)
{
    QioShell *shell = user_data;
    PyGILState_STATE state;
    int32_t keep = 0;

    if (qiopy_finalizing()) {
        return 0;
    }
    state = PyGILState_Ensure();
    if (shell->fn) {
        keep = call(shell, NULL, NULL, error);
    }
    PyGILState_Release(state);
    return keep;
}

static int32_t on_defer(qioh_loop *loop, void *user_data, qioh_error *error)
{
    int32_t keep = on_timer(NULL, user_data, error);

    return keep < 0 ? keep : 0;
}

/* The library's reference goes; when the interpreter has ended the shell is left to the exit. */
static void on_release(void *user_data)
{
    QioShell *shell = user_data;
    PyGILState_STATE state;
    PyObject *fn, *target;

    if (qiopy_finalizing()) {
        return;
    }
    state = PyGILState_Ensure();
    unlink_shell(shell, &fn, &target);
    shell_unref(shell);
    Py_XDECREF(target);
    Py_XDECREF(fn);
    PyGILState_Release(state);
}

/* ---- functions of other owners ---- */

QioShell *qiopy_shell_new(QioObject *owner, const char *name, PyObject *fn, PyObject *target)
{
    return new_shell(owner, name, fn, target);
}

PyObject *qiopy_shell_fn(QioShell *shell)
{
    return Py_XNewRef(shell->fn);
}

void qiopy_shell_unref(QioShell *shell)
{
    shell_unref(shell);
}

void qiopy_shell_release(void *user_data)
{
    on_release(user_data);
}

void qiopy_shells_leave(QioObject *owner)
{
    while (owner->shells) {
        QioShell *shell = owner->shells;

        owner->shells = shell->next;
        if (shell->next) {
            shell->next->pprev = &owner->shells;
        }
        shell->owner = NULL;
        if (shell->refs == 1) {                 /* the library has let go already */
            Py_CLEAR(shell->fn);
        }
        shell_unref(shell);
    }
}

/* ---- the Loop object ---- */

int qiopy_loop_new(QioObject *self)
{
    qioh_error error;

    qiopy_error_init(&error);
    self->h.loop = qioh_loop_new(&error);
    if (!self->h.loop) {
        qiopy_raise(&error);
        return -1;
    }
    return 0;
}

/* For a Watch the shell is only looked at: the loop's list owns the function. */
int qiopy_loop_traverse(QioObject *self, visitproc visit, void *arg)
{
    for (QioShell *shell = self->shells; shell && shell->owner == self; shell = shell->next) {
        Py_VISIT(shell->fn);
        Py_VISIT(shell->target);
    }
    return 0;
}

void qiopy_loop_clear(QioObject *self)
{
    while (self->shells && self->shells->owner == self) {
        kill_shell(self->shells);
    }
}

/* Ends a loop that nobody refers to any more: its registrations are released in the close. */
void qiopy_loop_dealloc(QioObject *self)
{
    qiopy_loop_clear(self);
    if (!self->closed) {
        Py_BEGIN_ALLOW_THREADS
        qioh_loop_close(self->h.loop, NULL);
        qioh_loop_unref(self->h.loop);
        Py_END_ALLOW_THREADS
    }
}

void qiopy_watch_dealloc(QioObject *self)
{
    if (self->shells) {
        shell_unref(self->shells);
        self->shells = NULL;
    }
}

/* What a dispatch ended with.  Returns: 1 again, 0 done, -1 exception */
static int dispatched(int32_t status, qioh_error *error)
{
    int again;

    if (qiopy_raise_stashed()) {
        return -1;
    }
    if (status >= 0) {
        return 0;
    }
    again = qiopy_interrupted(error);
    if (again == 0) {
        qiopy_raise(error);
        return -1;
    }
    return again;
}

PyObject *qiopy_loop_run(QioObject *self)
{
    qioh_error error;
    int32_t status;
    int again;

    qiopy_error_init(&error);
    do {
        Py_BEGIN_ALLOW_THREADS
        status = qioh_loop_run(self->h.loop, &error);
        Py_END_ALLOW_THREADS
        again = dispatched(status, &error);
    } while (again == 1);
    return again < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *qiopy_loop_run_once(QioObject *self, QioTimeout timeout)
{
    qioh_error error;
    int32_t status;
    int again;

    qiopy_error_init(&error);
    do {
        int32_t ms = qiopy_ms_left(timeout);

        Py_BEGIN_ALLOW_THREADS
        status = qioh_loop_dispatch(self->h.loop, ms, &error);
        Py_END_ALLOW_THREADS
        again = dispatched(status, &error);
    } while (again == 1);
    return again < 0 ? NULL : PyLong_FromLong(status);
}

/* Gives the handle up as well, and with it three descriptors; what is called later finds it stale
 * and raises ClosedError. */
PyObject *qiopy_loop_close(QioObject *self)
{
    qioh_error error;
    int32_t status;

    if (self->closed) {
        Py_RETURN_NONE;
    }
    qiopy_error_init(&error);
    Py_BEGIN_ALLOW_THREADS
    status = qioh_loop_close(self->h.loop, &error);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    qiopy_loop_clear(self);
    if (!self->closed) {                        /* not closed by a function it released */
        self->closed = true;
        qioh_loop_unref(self->h.loop);
    }
    Py_RETURN_NONE;
}

/* ---- registering ---- */

/* The Watch of a registration that the library has taken; its error when it has not. */
static PyObject *registered(QioShell *shell, qioh_watch *watch, const qioh_error *error)
{
    PyObject *object;

    if (!watch) {
        kill_shell(shell);
        shell_unref(shell);
        qiopy_raise(error);
        return NULL;
    }
    object = qiopy_wrap_watch(watch);
    if (object) {
        ((QioObject *)object)->shells = shell;
    } else {
        kill_shell(shell);
        shell_unref(shell);
    }
    return object;
}

static qioh_watch *watch_fd(QioObject *self, PyObject *target, uint32_t condition,
                            QioShell *shell, qioh_error *error)
{
    int32_t fd;

    if (qiopy_arg_fd(target, "channel", &fd) < 0) {
        return NULL;
    }
    return qioh_watch_new_fd(self->h.loop, fd, condition, on_fd, shell, on_release, error);
}

PyObject *qiopy_loop_watch(QioObject *self, PyObject *target, uint32_t condition, PyObject *fn)
{
    QioObject *object = (QioObject *)target;
    QioShell *shell;
    qioh_watch *watch;
    qioh_error error;

    if (PyObject_TypeCheck(target, qiopy_types[QIO_TYPE_LISTENER]) && condition != QIOH_IN) {
        PyErr_SetString(PyExc_ValueError, "condition has to be qio.IN for a Listener: a client "
                        "waits");
        return NULL;
    }
    shell = new_shell(self, "fn", fn, target);
    if (!shell) {
        return NULL;
    }
    qiopy_error_init(&error);
    if (PyObject_TypeCheck(target, qiopy_types[QIO_TYPE_CHANNEL])) {
        watch = qioh_watch_new(self->h.loop, object->h.channel, condition, on_channel, shell,
                               on_release, &error);
    } else if (PyObject_TypeCheck(target, qiopy_types[QIO_TYPE_LISTENER])) {
        watch = qioh_watch_new_listener(self->h.loop, object->h.listener, on_listener, shell,
                                        on_release, &error);
    } else {
        watch = watch_fd(self, target, condition, shell, &error);
        if (!watch && PyErr_Occurred()) {       /* the library never saw the shell */
            kill_shell(shell);
            shell_unref(shell);
            shell_unref(shell);
            return NULL;
        }
    }
    return registered(shell, watch, &error);
}

/* Seconds as milliseconds, rounded up: a timer never comes early. */
static int milliseconds(PyObject *object, const char *name, int64_t *out)
{
    double seconds = PyBool_Check(object) ? -1.0 : PyFloat_AsDouble(object);

    if (PyBool_Check(object) || (seconds == -1.0 && PyErr_Occurred())) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s has to be seconds, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!(seconds >= 0 && seconds <= 1e9)) {
        PyErr_Format(PyExc_ValueError, "%s has to be from 0 to 1e9 seconds, not %R", name, object);
        return -1;
    }
    *out = (int64_t)(seconds * 1000);
    *out += (double)*out < seconds * 1000;
    return 0;
}

PyObject *qiopy_loop_add_timer(QioObject *self, PyObject *after, PyObject *fn, PyObject *every)
{
    int64_t after_ms, every_ms = 0;
    QioShell *shell;
    qioh_error error;

    if (milliseconds(after, "after", &after_ms) < 0 ||
        (every != Py_None && milliseconds(every, "every", &every_ms) < 0)) {
        return NULL;
    }
    if (every != Py_None && every_ms == 0) {
        PyErr_SetString(PyExc_ValueError, "every has to be more than 0 seconds, or None for a "
                        "timer that fires once");
        return NULL;
    }
    shell = new_shell(self, "fn", fn, NULL);
    if (!shell) {
        return NULL;
    }
    qiopy_error_init(&error);
    return registered(shell, qioh_watch_new_timer(self->h.loop, after_ms, every_ms, on_timer,
                                                  shell, on_release, &error), &error);
}

PyObject *qiopy_loop_defer(QioObject *self, PyObject *fn)
{
    QioShell *shell = new_shell(self, "fn", fn, NULL);
    qioh_error error;
    int32_t status;

    if (!shell) {
        return NULL;
    }
    qiopy_error_init(&error);
    status = qioh_loop_defer(self->h.loop, on_defer, shell, on_release, &error);
    if (status < 0) {
        kill_shell(shell);
        qiopy_raise(&error);
    }
    shell_unref(shell);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *qiopy_watch_remove(QioObject *self)
{
    QioShell *shell = self->shells;
    qioh_error error;

    qiopy_error_init(&error);
    if (qioh_watch_remove(self->h.watch, &error) < 0) {
        qiopy_raise(&error);
        return NULL;
    }
    if (shell) {
        kill_shell(shell);
    }
    Py_RETURN_NONE;
}
