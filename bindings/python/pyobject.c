/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyobject.c: the types that programs see.
 *
 * Owns: one heap type for each kind of handle (Channel, Listener, Loop, Watch, TLSCreds).  SWIG
 * writes the methods; its own -builtin types are not used, because they know no weak references, no
 * collector, no safe construction and no other base classes.  An object owns one reference of
 * its handle.  Dropping one that still holds a descriptor warns, with the place where it was
 * made (tracemalloc), and never blocks: unref leaves the rest to the library.
 * GIL held, but for the unref itself.
 */
#include "qiopy.h"
#include <structmember.h>

PyTypeObject *qiopy_types[QIO_TYPES];
static PyObject *hooks[QIO_HOOKS];

PyObject *qiopy_hook(unsigned hook)
{
    return hook < QIO_HOOKS ? hooks[hook] : NULL;
}

PyObject *qiopy_register(unsigned hook, PyObject *object)
{
    if (hook >= QIO_HOOKS) {
        PyErr_Format(PyExc_ValueError, "hook has to be below %d, not %u", QIO_HOOKS, hook);
        return NULL;
    }
    Py_XSETREF(hooks[hook], Py_NewRef(object));
    Py_RETURN_NONE;
}

static void release_handle(QioType type, QioObject *o)
{
    Py_BEGIN_ALLOW_THREADS
    switch (type) {
    case QIO_TYPE_CHANNEL:
        qioh_channel_unref(o->h.channel);
        break;
    case QIO_TYPE_LISTENER:
        qioh_listener_unref(o->h.listener);
        break;
    case QIO_TYPE_WATCH:
        qioh_watch_unref(o->h.watch);
        break;
    case QIO_TYPE_CREDS:
        qioh_creds_unref(o->h.creds);
        break;
    case QIO_TYPE_LOOP:                         /* qiopy_loop_dealloc() did */
    case QIO_TYPES:
        break;
    }
    Py_END_ALLOW_THREADS
}

static QioType type_of(PyObject *self)
{
    QioType type = QIO_TYPE_CHANNEL;

    while (type < QIO_TYPES - 1 && !PyObject_TypeCheck(self, qiopy_types[type])) {
        type++;
    }
    return type;
}

/* A handle's new object; on failure the reference of the handle is given up. */
static PyObject *make(QioType type, PyTypeObject *class, uintptr_t token)
{
    QioObject *o = (QioObject *)class->tp_alloc(class, 0);

    if (!o) {
        QioObject orphan = {.h.token = token};

        release_handle(type, &orphan);
        return NULL;
    }
    o->h.token = token;
    if (qiopy_identity_put(token, (PyObject *)o) < 0) {
        o->closed = true;
        Py_DECREF(o);
        return NULL;
    }
    return (PyObject *)o;
}

/* The class registered for a hook, if it is one of ours. */
static PyTypeObject *class_for(unsigned hook, QioType type)
{
    PyTypeObject *class = (PyTypeObject *)qiopy_hook(hook);

    if (class && PyType_Check(class) && PyType_IsSubtype(class, qiopy_types[type])) {
        return class;
    }
    return qiopy_types[type];
}

/* What is below a layer, and what runs there. */
static void look_below(QioObject *self)
{
    qioh_channel *below = self->h.channel, *next;
    PyObject *object;
    int32_t kind;

    while ((next = qioh_channel_get_transport(below, NULL))) {
        below = next;
    }
    kind = qioh_channel_get_kind(below, NULL);
    object = qiopy_identity_get((uintptr_t)below);
    self->foreign = kind == QIOH_CHANNEL_CUSTOM || kind == QIOH_CHANNEL_OTHER;
    if (object && ((QioObject *)object)->custom) {
        self->bottom = Py_NewRef(object);
    }
}

static void settle_kind(QioObject *self, int32_t kind)
{
    bool layer = kind == QIOH_CHANNEL_TLS || kind == QIOH_CHANNEL_WEBSOCKET;

    self->foreign = kind == QIOH_CHANNEL_CUSTOM || kind == QIOH_CHANNEL_OTHER;
    self->keep = layer || self->foreign ? 0 : QIO_UNLOCK_BYTES;
    if (layer) {
        look_below(self);
    }
}

PyObject *qiopy_wrap_channel(qioh_channel *channel, bool owned)
{
    PyObject *object;
    int32_t kind;

    if (!channel) {
        Py_RETURN_NONE;
    }
    object = qiopy_identity_get((uintptr_t)channel);
    if (object) {
        Py_INCREF(object);
        if (owned) {
            ((QioObject *)object)->lent = false;
            qioh_channel_unref(channel);
        }
        return object;
    }
    if (!owned) {
        qioh_error error;

        qiopy_error_init(&error);
        if (!qioh_channel_ref(channel, &error)) {
            qiopy_raise(&error);
            return NULL;
        }
    }
    kind = qioh_channel_get_kind(channel, NULL);
    object = make(QIO_TYPE_CHANNEL,
                  class_for(QIO_HOOK_CHANNEL + (kind < 0 ? 0 : (unsigned)kind), QIO_TYPE_CHANNEL),
                  (uintptr_t)channel);
    if (object) {
        settle_kind((QioObject *)object, kind);
    }
    return object;
}

PyObject *qiopy_wrap_inner(qioh_channel *channel)
{
    bool known = qiopy_identity_get((uintptr_t)channel) != NULL;
    PyObject *object = qiopy_wrap_channel(channel, false);

    if (object && !known) {
        ((QioObject *)object)->lent = true;
    }
    return object;
}

PyObject *qiopy_wrap_creds(qioh_creds *creds)
{
    return make(QIO_TYPE_CREDS, class_for(QIO_HOOK_CREDS, QIO_TYPE_CREDS), (uintptr_t)creds);
}

PyObject *qiopy_wrap_listener(qioh_listener *listener)
{
    if (!listener) {
        Py_RETURN_NONE;
    }
    return make(QIO_TYPE_LISTENER, class_for(QIO_HOOK_LISTENER, QIO_TYPE_LISTENER),
                (uintptr_t)listener);
}

PyObject *qiopy_wrap_watch(qioh_watch *watch)
{
    if (!watch) {
        Py_RETURN_NONE;
    }
    return make(QIO_TYPE_WATCH, qiopy_types[QIO_TYPE_WATCH], (uintptr_t)watch);
}

QioObject *qiopy_unwrap(PyObject *object, QioType type, const char *name)
{
    if (!PyObject_TypeCheck(object, qiopy_types[type])) {
        /* The user knows the class of the package, which derives from that of the module. */
        PyErr_Format(PyExc_TypeError, "%s has to be a qio.%s, not %.100s", name,
                     strrchr(qiopy_types[type]->tp_name, '.') + 1, Py_TYPE(object)->tp_name);
        return NULL;
    }
    return (QioObject *)object;
}

/* ---- slots ---- */

/* The name without the module: "SocketChannel". */
static const char *short_name(PyTypeObject *class)
{
    const char *dot = strrchr(class->tp_name, '.');

    return dot ? dot + 1 : class->tp_name;
}

static PyObject *object_new(PyTypeObject *class, PyObject *args, PyObject *kwargs)
{
    const char *how = "qio.connect(), qio.open_file(), qio.pair() ...";

    if (PyType_IsSubtype(class, qiopy_types[QIO_TYPE_LISTENER])) {
        how = "qio.listen()";
    } else if (PyType_IsSubtype(class, qiopy_types[QIO_TYPE_WATCH])) {
        how = "Loop.watch(), Loop.add_timer()";
    }
    PyErr_Format(PyExc_TypeError, "cannot make a %.100s directly: use %s", short_name(class), how);
    return NULL;
}

static PyObject *loop_new(PyTypeObject *class, PyObject *args, PyObject *kwargs)
{
    QioObject *o;

    if (class->tp_init == PyBaseObject_Type.tp_init &&
        (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs)))) {
        PyErr_SetString(PyExc_TypeError, "Loop() takes no arguments");
        return NULL;
    }
    o = (QioObject *)class->tp_alloc(class, 0);
    if (o && qiopy_loop_new(o) < 0) {
        Py_CLEAR(o);
    }
    return (PyObject *)o;
}

static int object_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((QioObject *)self)->on_request);
    Py_VISIT(((QioObject *)self)->bottom);
    if (((QioObject *)self)->custom) {
        int result = qiopy_custom_traverse((QioObject *)self, visit, arg);

        if (result) {
            return result;
        }
    }
    return qiopy_aio_traverse((QioObject *)self, visit, arg)
           || qiopy_loop_traverse((QioObject *)self, visit, arg);
}

static int object_clear(PyObject *self)
{
    Py_CLEAR(((QioObject *)self)->on_request);
    Py_CLEAR(((QioObject *)self)->bottom);
    if (((QioObject *)self)->custom) {
        qiopy_custom_clear((QioObject *)self);
    }
    qiopy_loop_clear((QioObject *)self);
    return 0;
}

/* Memory holds nothing that the system runs out of. */
static bool holds_descriptor(QioObject *o, QioType type)
{
    int32_t kind;

    if (type == QIO_TYPE_LISTENER) {
        return true;
    }
    if (o->custom || o->bottom) {
        return qiopy_custom_has_fileno(o->custom ? o : (QioObject *)o->bottom);
    }
    kind = qioh_channel_get_kind(o->h.channel, NULL);
    return kind >= 0 && kind != QIOH_CHANNEL_BUFFER && kind != QIOH_CHANNEL_NULL;
}

static void object_finalize(PyObject *self)
{
    QioObject *o = (QioObject *)self;
    QioType type = type_of(self);
    bool warns = o->h.token && !o->closed && !o->lent && type <= QIO_TYPE_LISTENER;
    PyObject *e1, *e2, *e3;

    if (o->finalized) {
        return;                                 /* __del__() of a class has called us before */
    }
    o->finalized = true;
    PyErr_Fetch(&e1, &e2, &e3);
    if (warns && holds_descriptor(o, type) &&
        PyErr_ResourceWarning(self, 1, "unclosed %R", self) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Warning)) {
            PyErr_WriteUnraisable(self);
        } else {
            PyErr_Clear();                      /* no warning module any more */
        }
    }
    if (o->custom) {
        qiopy_custom_finalize(o);
    }
    PyErr_Restore(e1, e2, e3);
}

static void object_dealloc(PyObject *self)
{
    QioObject *o = (QioObject *)self;
    PyTypeObject *class = Py_TYPE(self);
    QioType type = type_of(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (o->weakrefs) {
        PyObject_ClearWeakRefs(self);
    }
    if (o->custom) {
        qiopy_custom_dealloc(o);
    }
    if (o->h.token) {
        qiopy_identity_remove(o->h.token, self);
        if (o->aio) {
            qiopy_aio_free(o);
        }
        if (type == QIO_TYPE_LOOP) {
            qiopy_loop_dealloc(o);
        } else if (type == QIO_TYPE_WATCH) {
            qiopy_watch_dealloc(o);
        } else if (type == QIO_TYPE_CREDS) {
            qiopy_shells_leave(o);
        }
        release_handle(type, o);
        o->h.token = 0;
    }
    qiopy_message_free(o);
    Py_CLEAR(o->on_request);
    Py_CLEAR(o->bottom);
    class->tp_free(self);
    Py_DECREF(class);
}

/* <SocketChannel name fd=5>, <CommandChannel pid=17>, <BufferChannel at 0x...> */
static PyObject *channel_repr(QioObject *o, const char *class_name)
{
    char label[128] = " ";
    int32_t number;

    if (qioh_channel_get_name(o->h.channel, label + 1, sizeof label - 1, NULL) <= 0) {
        label[0] = '\0';
    }
    /* A method of a class is not called for this: it may not be able yet. */
    number = o->custom ? -1 : qioh_channel_get_fd(o->h.channel, NULL);
    if (number >= 0) {
        return PyUnicode_FromFormat("<%s%s fd=%d>", class_name, label, (int)number);
    }
    number = qioh_channel_get_pid(o->h.channel, NULL);
    if (number >= 0) {
        return PyUnicode_FromFormat("<%s%s pid=%d>", class_name, label, (int)number);
    }
    return PyUnicode_FromFormat("<%s%s at %p>", class_name, label, o);
}

static PyObject *object_repr(PyObject *self)
{
    QioObject *o = (QioObject *)self;
    const char *name = short_name(Py_TYPE(self));
    char address[128];

    if (o->closed) {
        return PyUnicode_FromFormat("<%s closed>", name);
    }
    switch (type_of(self)) {
    case QIO_TYPE_CHANNEL:
        return channel_repr(o, name);
    case QIO_TYPE_LISTENER:
        if (qioh_listener_get_address(o->h.listener, 0, address, sizeof address, NULL) >= 0) {
            return PyUnicode_FromFormat("<%s %s>", name, address);
        }
        break;
    default:
        break;
    }
    return PyUnicode_FromFormat("<%s at %p>", name, self);
}

/* ---- making the types ---- */

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(QioObject, weakrefs), READONLY, NULL},
    {NULL},
};

/* SWIG begins each doc string with a newline, which hides the signature from inspect. */
void qiopy_strip_docs(PyMethodDef *methods)
{
    for (PyMethodDef *m = methods; m->ml_name; m++) {
        if (m->ml_doc && m->ml_doc[0] == '\n') {
            m->ml_doc++;
        }
    }
}

static PyTypeObject *make_type(const char *name, const char *doc, newfunc new,
                               PyMethodDef *methods)
{
    PyType_Slot slots[] = {
        {Py_tp_new, new}, {Py_tp_dealloc, object_dealloc}, {Py_tp_traverse, object_traverse},
        {Py_tp_clear, object_clear}, {Py_tp_finalize, object_finalize}, {Py_tp_repr, object_repr},
        {Py_tp_methods, methods}, {Py_tp_members, members}, {Py_tp_doc, (char *)doc}, {0, NULL},
    };
    PyType_Spec spec = {
        name, sizeof(QioObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots,
    };

    qiopy_strip_docs(methods);
    return (PyTypeObject *)PyType_FromSpec(&spec);
}

int qiopy_init(PyObject *dict, PyMethodDef *const methods[QIO_TYPES])
{
    static const struct { const char *name, *doc; newfunc new; } types[QIO_TYPES] = {
        {"qio._qio.Channel", "What every channel has from C; see qio.Channel.", object_new},
        {"qio._qio.Listener", "What a listener has from C; see qio.Listener.", object_new},
        {"qio._qio.Loop", "What a loop has from C; see qio.Loop.", loop_new},
        {"qio.Watch", "A watch or timer of a Loop.  Dropping it leaves it in the loop.",
         object_new},
        {"qio._qio.TLSCreds", "What credentials have from C; see qio.TLSCreds.", object_new},
    };

    for (int i = 0; i < QIO_TYPES; i++) {
        const char *dot = strrchr(types[i].name, '.');

        if (i == QIO_TYPE_CHANNEL) {
            qiopy_channel_methods(methods[i]);
        }
        qiopy_types[i] = make_type(types[i].name, types[i].doc, types[i].new, methods[i]);
        if (!qiopy_types[i] ||
            PyDict_SetItemString(dict, dot + 1, (PyObject *)qiopy_types[i]) < 0) {
            return -1;
        }
    }
    if (qiopy_fd_init(dict) < 0 || qiopy_task_init(dict) < 0 || qiopy_custom_init(dict) < 0) {
        return -1;
    }
    return qiopy_aio_init(dict);
}
