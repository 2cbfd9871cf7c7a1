/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pycustom.c: channels that are written in Python, as objects.
 *
 * Owns: making one, its end, the exceptions that left its methods, and CustomOp, which stands in a
 * class in the place of each method that it writes.
 * Rules: a method that a class writes is what the library calls; from everywhere else its name is
 * the channel's own verb, which calls it through the library.  Only inside of itself is the name
 * the method, so that super() and close() in close() do what they say.  An exception travels
 * beside the C error, whose number leads to it, over any number of layers, threads and dispatches;
 * whoever raises the error raises the exception.  GIL held everywhere.
 */
#include "pycustom.h"

const char *const qiopy_op_names[QIO_OPS] = {
    "readinto", "write", "close", "shutdown", "seek", "flush", "fileno", "get_poll", "recv_fds",
    "send_fds",
};

static QioCustom *customs;
static int64_t last_id;
static PyTypeObject *op_type;

/* ---- exceptions ---- */

/* Takes the i-th out: a new reference. */
static PyObject *take_raised(QioCustom *custom, int i)
{
    PyObject *value = custom->raised[i].value;

    for (; i < QIO_RAISED_MAX - 1; i++) {
        custom->raised[i] = custom->raised[i + 1];
    }
    custom->raised[i] = (QioRaised){0};
    return value;
}

/*
 * The oldest that nobody asked for.  What the system said is dropped, as it is for every channel
 * where the library does (the last words of a layer whose peer is gone); and so is what comes of
 * using a channel whose failure has been told.
 */
static void report_oldest(QioCustom *custom)
{
    bool quiet = custom->raised[0].quiet;
    PyObject *value = take_raised(custom, 0);
    PyObject *e1, *e2, *e3;

    if (quiet || PyErr_GivenExceptionMatches(value, PyExc_OSError)) {
        Py_DECREF(value);
        return;
    }
    PyErr_Fetch(&e1, &e2, &e3);
    PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    Py_DECREF(value);
    PyErr_WriteUnraisable((PyObject *)custom->self);
    PyErr_Restore(e1, e2, e3);
}

static bool is_context_of(PyObject *value, PyObject *of)
{
    PyObject *context = Py_NewRef(of);

    /* A chain is as long as what is kept, and those below it. */
    for (int i = 0; context && i < 100; i++) {
        PyObject *next = PyException_GetContext(context);

        Py_DECREF(context);
        if (next == value) {
            Py_DECREF(next);
            return true;
        }
        context = next;
    }
    Py_XDECREF(context);
    return false;
}

int32_t qiopy_custom_keep(QioCustom *custom, QioOp op, qioh_error *error)
{
    PyObject *value = qiopy_take_exception();
    PyObject *context = PyException_GetContext(value);
    int i = 0;

    while (i < QIO_RAISED_MAX && custom->raised[i].id) {
        i++;
    }
    if (i == QIO_RAISED_MAX) {                  /* nobody asked for the oldest */
        report_oldest(custom);
        i--;
    }
    if (!context && i > 0 && !is_context_of(value, custom->raised[i - 1].value)) {
        PyException_SetContext(value, Py_NewRef(custom->raised[i - 1].value));
    }
    Py_XDECREF(context);
    custom->raised[i] = (QioRaised){++last_id, value, custom->told && op != QIO_OP_CLOSE};
    error->code = QIOH_E_CALLBACK;
    error->domain = QIOH_DOMAIN_LIBRARY;
    error->number = last_id;
    qiopy_describe_exception(value, error);
    return QIOH_E_CALLBACK;
}

/* What else is kept belongs to the same failure: told as its context, or else reported. */
static void settle_others(QioCustom *custom, PyObject *value)
{
    while (custom->raised[0].id) {
        PyObject *other = custom->raised[0].value;

        custom->raised[0].quiet |= other == value || is_context_of(other, value);
        report_oldest(custom);
    }
}

int qiopy_raise_kept(int64_t id)
{
    for (QioCustom *custom = customs; custom; custom = custom->next) {
        for (int i = 0; i < QIO_RAISED_MAX; i++) {
            PyObject *value;

            if (custom->raised[i].id != id) {
                continue;
            }
            value = take_raised(custom, i);
            custom->told = true;
            settle_others(custom, value);
            PyErr_SetObject((PyObject *)Py_TYPE(value), value);
            Py_DECREF(value);
            return 1;
        }
    }
    return 0;
}

/* ---- life ---- */

void qiopy_custom_unref(QioCustom *custom)
{
    if (atomic_fetch_sub(&custom->refs, 1) == 1) {
        free(custom);                           /* not PyMem: the library does not hold the GIL */
    }
}

static QioCustom *new_custom(QioObject *self, unsigned written)
{
    QioCustom *custom = calloc(1, sizeof *custom);

    if (!custom) {
        PyErr_NoMemory();
        return NULL;
    }
    atomic_init(&custom->refs, 2);
    custom->self = self;
    custom->written = written;
    custom->next = customs;
    custom->pprev = &customs;
    if (customs) {
        customs->pprev = &custom->next;
    }
    customs = custom;
    return custom;
}

PyObject *qiopy_custom_new(PyObject *type, PyObject *loop, uint32_t written)
{
    PyTypeObject *class = (PyTypeObject *)type;
    QioObject *object = NULL, *self;
    qioh_channel_ops ops;
    qioh_error error;

    if (!PyType_Check(type) || !PyType_IsSubtype(class, qiopy_types[QIO_TYPE_CHANNEL])) {
        PyErr_SetString(PyExc_TypeError, "type has to be a class of channels");
        return NULL;
    }
    if (loop != Py_None && !(object = qiopy_unwrap(loop, QIO_TYPE_LOOP, "loop"))) {
        return NULL;
    }
    self = (QioObject *)class->tp_alloc(class, 0);
    if (!self || !(self->custom = new_custom(self, written))) {
        Py_XDECREF(self);
        return NULL;
    }
    self->keep = UINT32_MAX;                    /* the methods are Python: nothing to let go for */
    qiopy_error_init(&error);
    ops = qiopy_custom_ops(self->custom);
    self->h.channel = qioh_channel_new_custom(object ? object->h.loop : NULL, &ops, self->custom,
                                              &error);
    if (!self->h.channel) {
        qiopy_raise(&error);
    } else if (qiopy_identity_put(self->h.token, (PyObject *)self) < 0) {
        self->closed = true;
    } else {
        return (PyObject *)self;
    }
    Py_DECREF(self);
    return NULL;
}

/* The last moment of the object: the class's close() runs now, if it has not. */
void qiopy_custom_finalize(QioObject *self)
{
    QioCustom *custom = self->custom;

    if (self->h.token && qiopy_finalizing()) {
        /* The GIL stays: an interpreter that ends gives it to nobody any more. */
        qiopy_thread.holding++;
        qioh_channel_close(self->h.channel, NULL);
        qiopy_thread.holding--;
    } else if (self->h.token) {
        Py_BEGIN_ALLOW_THREADS
        qioh_channel_close(self->h.channel, NULL);
        Py_END_ALLOW_THREADS
    }
    while (custom->raised[0].id) {
        report_oldest(custom);
    }
}

int qiopy_custom_traverse(QioObject *self, visitproc visit, void *arg)
{
    for (int i = 0; i < QIO_RAISED_MAX; i++) {
        Py_VISIT(self->custom->raised[i].value);
    }
    return 0;
}

void qiopy_custom_clear(QioObject *self)
{
    while (self->custom->raised[0].id) {
        Py_DECREF(take_raised(self->custom, 0));
    }
}

/* Before the handle is given up: what is called from now on finds nobody. */
void qiopy_custom_dealloc(QioObject *self)
{
    QioCustom *custom = self->custom;

    qiopy_custom_clear(self);
    Py_CLEAR(custom->bounce);
    *custom->pprev = custom->next;
    if (custom->next) {
        custom->next->pprev = custom->pprev;
    }
    custom->self = NULL;
    self->custom = NULL;
    qiopy_custom_unref(custom);
}

bool qiopy_custom_has_fileno(const QioObject *self)
{
    return qiopy_op_written(self->custom, QIO_OP_FILENO);
}

/* ---- CustomOp ---- */

typedef struct OpObject {
    PyObject_HEAD
    PyObject *fn;               /* what the class has written */
    PyObject *verb;             /* what the channel has under that name; NULL: nothing */
    QioOp op;
} OpObject;

PyObject *qiopy_op_function(PyTypeObject *class, QioOp op)
{
    static PyObject *names[QIO_OPS];
    PyObject *found;

    if (!names[op]) {
        names[op] = PyUnicode_InternFromString(qiopy_op_names[op]);
    }
    found = names[op] ? _PyType_Lookup(class, names[op]) : NULL;
    return found && Py_IS_TYPE(found, op_type) ? ((OpObject *)found)->fn : found;
}

static PyObject *bind(PyObject *function, PyObject *object, PyObject *type)
{
    descrgetfunc get = Py_TYPE(function)->tp_descr_get;

    return get ? get(function, object, type) : Py_NewRef(function);
}

static PyObject *op_get(PyObject *self, PyObject *object, PyObject *type)
{
    OpObject *o = (OpObject *)self;
    bool raw = !object || !o->verb || !PyObject_TypeCheck(object, qiopy_types[QIO_TYPE_CHANNEL]);

    if (!raw) {
        raw = qiopy_op_inside((QioObject *)object, o->op);
    }
    return bind(raw ? o->fn : o->verb, object, type);
}

static PyObject *op_new(PyTypeObject *class, PyObject *args, PyObject *kwargs)
{
    PyObject *fn, *verb;
    OpObject *o;
    int op;

    if (!PyArg_ParseTuple(args, "OOi:CustomOp", &fn, &verb, &op)) {
        return NULL;
    }
    if (op < 0 || op >= QIO_OPS) {
        PyErr_Format(PyExc_ValueError, "op has to be below %d, not %d", (int)QIO_OPS, op);
        return NULL;
    }
    o = (OpObject *)class->tp_alloc(class, 0);
    if (o) {
        o->fn = Py_NewRef(fn);
        o->verb = verb == Py_None ? NULL : Py_NewRef(verb);
        o->op = (QioOp)op;
    }
    return (PyObject *)o;
}

static int op_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((OpObject *)self)->fn);
    Py_VISIT(((OpObject *)self)->verb);
    return 0;
}

static int op_clear(PyObject *self)
{
    Py_CLEAR(((OpObject *)self)->fn);
    Py_CLEAR(((OpObject *)self)->verb);
    return 0;
}

static void op_dealloc(PyObject *self)
{
    PyTypeObject *class = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    op_clear(self);
    class->tp_free(self);
    Py_DECREF(class);
}

int qiopy_custom_init(PyObject *dict)
{
    PyType_Slot slots[] = {
        {Py_tp_new, op_new}, {Py_tp_dealloc, op_dealloc}, {Py_tp_traverse, op_traverse},
        {Py_tp_clear, op_clear}, {Py_tp_descr_get, op_get},
        {Py_tp_doc, "A method that a CustomChannel has written."}, {0, NULL},
    };
    PyType_Spec spec = {
        "qio._qio.CustomOp", sizeof(OpObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots,
    };

    op_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return op_type ? PyDict_SetItemString(dict, "CustomOp", (PyObject *)op_type) : -1;
}
