/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qiopy.h: what the C files of the Python module share.
 *
 * Owns: the layout of our objects and the names of the glue.  SWIG's wrappers convert
 * arguments and call these functions; each is plain C that a debugger can step through.
 * Rules:
 *  - A function that gives a PyObject * gives a new reference, or NULL with an exception set;
 *    one that gives an int gives -1 with an exception set.
 *  - The GIL is held everywhere but around calls that may block (qiopy_unlock ... relock).
 *  - Every call into the library that may call back is bracketed by qiopy_enter/qiopy_leave,
 *    so that an exception of a callback leaves from the Python call that entered C.
 */
#ifndef QIOPY_H
#define QIOPY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <qio/qioh.h>
#include "pycompat.h"

/* ---- objects (pyobject.c) ---- */

typedef enum QioType {
    QIO_TYPE_CHANNEL,
    QIO_TYPE_LISTENER,
    QIO_TYPE_LOOP,
    QIO_TYPE_WATCH,
    QIO_TYPE_CREDS,
    QIO_TYPES,
} QioType;

/* The one object layout: a handle of which the object owns one reference. */
typedef struct QioObject {
    PyObject_HEAD
    union {
        qioh_channel *channel;
        qioh_listener *listener;
        qioh_loop *loop;
        qioh_watch *watch;
        qioh_creds *creds;
        uintptr_t token;
    } h;
    PyObject *weakrefs;
    struct QioShell *shells;    /* a loop's or creds' functions, a watch's own: see pyloop.c */
    bool closed;                /* close() or detach() was called: nothing to warn of */
    bool ending;                /* a close has begun: nobody begins to wait any more */
    bool finalized;
    bool lent;                  /* a channel below another, whose object warns instead */
    bool answering;             /* on_request is being asked */
    uint8_t inside;             /* a channel: QIO_READING, QIO_WRITING while a call does that, and
                                 * QIO_AWAITED_* */
    uint32_t keep;              /* a channel: transfers of fewer bytes keep the GIL */
    struct QioMessage *message; /* a WebSocket: what came of a message (pywebsock.c) */
    PyObject *on_request;       /* a WebSocket server: who answers its request */
    struct QioAio *aio;         /* once it was awaited (pyaio.c) */
    struct QioCustom *custom;   /* a channel written in Python (pycustom.c) */
    PyObject *bottom;           /* of a layer over one: that, which has to live as long */
    bool foreign;               /* functions of a program run below: no call keeps the GIL */
} QioObject;

/*
 * One reader and one writer at a time: a call that waits has the direction for all of its time,
 * or two readers would share a record between them.  The library sees its parts only: the tries.
 */
#define QIO_READING 1u
#define QIO_WRITING 2u

/*
 * An event loop waits at the channel's descriptor, which may have nothing more to say once a call
 * has moved the bytes into a layer or the read-ahead: each call looks after who waits, at its end.
 */
#define QIO_AWAITED_AIO 4u      /* pyplace.c */
#define QIO_AWAITED_HOOK 8u     /* QIO_HOOK_LOOKED is to be told */
#define QIO_AWAITED (QIO_AWAITED_AIO | QIO_AWAITED_HOOK)
void qiopy_raise_busy(unsigned way);

/* false: BusyError */
static inline bool qiopy_begin(QioObject *self, unsigned way)
{
    if (__builtin_expect(self->inside & way, 0)) {
        qiopy_raise_busy(way);
        return false;
    }
    self->inside |= way;
    return true;
}

/* Raises nothing, keeps an exception. */
void qiopy_look_after(QioObject *self, unsigned way);

/* After a call that may have moved bytes; way: QIO_READING, QIO_WRITING or 0 for both. */
static inline void qiopy_looked(QioObject *self, unsigned way)
{
    if (__builtin_expect(self->inside & QIO_AWAITED, 0)) {
        qiopy_look_after(self, way);
    }
}

static inline void qiopy_end(QioObject *self, unsigned way)
{
    self->inside &= (uint8_t)~way;
    qiopy_looked(self, way);
}

extern PyTypeObject *qiopy_types[QIO_TYPES];

void qiopy_strip_docs(PyMethodDef *methods);
/* Makes our types around SWIG's method tables and puts them into the module's dictionary. */
int qiopy_init(PyObject *dict, PyMethodDef *const methods[QIO_TYPES]);

/*
 * The object of a handle, the same one each time; None for NULL.
 * owned: the reference comes with the handle; else one is taken if the object is new.
 */
PyObject *qiopy_wrap_channel(qioh_channel *channel, bool owned);
PyObject *qiopy_wrap_listener(qioh_listener *listener);
PyObject *qiopy_wrap_watch(qioh_watch *watch);
PyObject *qiopy_wrap_creds(qioh_creds *creds);
/* A borrowed channel that somebody else is to close: dropping its object warns of nothing. */
PyObject *qiopy_wrap_inner(qioh_channel *channel);
/* The object behind an argument, or NULL with a TypeError that names it. */
QioObject *qiopy_unwrap(PyObject *object, QioType type, const char *name);

/* What the Python half registers: exception factory, classes by kind, Cond members ... */
typedef enum QioHook {
    QIO_HOOK_ERROR,             /* error(code, errno, domain, number, bytes, message) */
    QIO_HOOK_INCOMPLETE,        /* incomplete(partial, expected) */
    QIO_HOOK_CONDITIONS,        /* tuple: the Cond of each mask below 64 */
    QIO_HOOK_FD,                /* the class of received descriptors */
    QIO_HOOK_LISTENER,          /* the class of listeners */
    QIO_HOOK_CREDS,             /* the class of credentials */
    QIO_HOOK_CHANNEL,           /* + kind: the classes of channels */
    /* closing(channel, close): a channel is about to be closed (or else detached), for event loops
       written in Python; True: left to that loop */
    QIO_HOOK_CLOSING = QIO_HOOK_CHANNEL + 16,
    /* looked(channel): bytes may have come out of a descriptor that _get_poll() has named */
    QIO_HOOK_LOOKED,
    QIO_HOOKS,
} QioHook;

PyObject *qiopy_hook(unsigned hook);            /* borrowed, NULL when not registered */
PyObject *qiopy_register(unsigned hook, PyObject *object);

/* ---- the map from handles to objects (pyidentity.c) ---- */

PyObject *qiopy_identity_get(uintptr_t token);  /* borrowed, or NULL, without an exception */
int qiopy_identity_put(uintptr_t token, PyObject *object);
void qiopy_identity_remove(uintptr_t token, PyObject *object);

/* ---- errors (pyerror.c) ---- */

/* How many calls into the library this thread is inside of, and the exception on its way out of
 * them.  Our own small block of static TLS: a call per message looks at it. */
typedef struct QioThread {
    int depth;
    int holding;                /* calls made with the GIL that may call back */
    PyObject *stashed;
} QioThread;
#define QIO_TLS __attribute__((tls_model("initial-exec")))
extern _Thread_local QioThread qiopy_thread QIO_TLS;

void qiopy_report_leftover(void);

static inline void qiopy_enter(void)
{
    if (qiopy_thread.depth++ == 0 && qiopy_thread.stashed) {
        qiopy_report_leftover();
    }
}

static inline void qiopy_leave(void)
{
    qiopy_thread.depth--;
}

/* Keeps the exception of a callback for the Python call that entered C, and fills error. */
int32_t qiopy_stash(PyObject *where, qioh_error *error);
/* The exception that is set, normalised and with its traceback; the indicator is clear then. */
PyObject *qiopy_take_exception(void);
void qiopy_describe_exception(PyObject *value, qioh_error *error);
/* Raises an exception kept by this thread: 1 raised, 0 there is none. */
int qiopy_raise_stashed(void);
/* Sets the exception that an error stands for. */
void qiopy_raise(const qioh_error *error);
void qiopy_raise_code(int32_t code, uint64_t bytes, const char *message);
/* Whether the interpreter is ending: nothing may take the GIL any more. */
bool qiopy_finalizing(void);
/* After a call that may end with INTR: 1 call again, 0 it is done, -1 a signal handler raised. */
int qiopy_interrupted(qioh_error *error);

static inline void qiopy_error_init(qioh_error *error)
{
    error->struct_size = sizeof *error;
    error->code = 0;
    error->bytes = 0;
}

/* ---- time and waiting (pywait.c) ---- */

/* When a call gives up: nanoseconds of CLOCK_MONOTONIC, or one of the two below. */
typedef int64_t QioTimeout;
#define QIO_TIMEOUT_DEFAULT INT64_MIN           /* what the channel says */
#define QIO_TIMEOUT_NONE INT64_MAX
#define QIO_TIMEOUT_TRY (INT64_MIN + 1)         /* waits in no mode: the event loops' */

typedef QioTimeout QioPlainTimeout;             /* the same, not by keyword only (qio_typemaps.i) */
typedef Py_ssize_t QioUpTo;                     /* a size; None and -1 are "until the end": -1 */
typedef int QioBool;

int64_t qiopy_now(void);
int qiopy_timeout(PyObject *object, const char *name, QioTimeout *out);
int32_t qiopy_ms_left(QioTimeout timeout);
/* "timeout" and its kin have to be given by keyword. */
int qiopy_keyword_only(PyObject *kwargs, const char *name);

/* One call's patience: made when the call starts, asked each time it would block. */
typedef struct QioPatience {
    QioObject *self;
    uint32_t condition;
    bool always;                /* waits on a non-blocking channel too */
    bool settled;
    QioTimeout timeout;
} QioPatience;

/*
 * What to do about AGAIN.  done: bytes that the call has moved, for TimeoutError.
 * Returns: 1 try again, 0 the channel is non-blocking: give None, -1 exception
 */
int qiopy_wait(QioPatience *patience, uint64_t done);
/*
 * What layers have accepted and not sent yet, as a blocking channel promises; done as above.
 * Returns: 0, also on a non-blocking channel, which promises nothing; -1 exception
 */
int qiopy_push_out(QioPatience *patience, uint64_t done);
PyObject *qiopy_channel_wait(QioObject *self, uint32_t condition, QioTimeout timeout);
PyObject *qiopy_set_mode(QioObject *self, int32_t ms);
PyObject *qiopy_settimeout(QioObject *self, PyObject *value);
PyObject *qiopy_gettimeout(QioObject *self);
PyObject *qiopy_getblocking(QioObject *self);
PyObject *qiopy_condition(uint32_t condition);  /* new reference to a qio.Cond */

/* Transfers of at least this size release the GIL; smaller ones are done sooner than that.  In a
 * layer every byte is worked on, and before its handshake is over (keep is 0) any call may be
 * the one that does it. */
#define QIO_UNLOCK_BYTES 65536
#define QIO_UNLOCK_LAYER_BYTES 16384
/* The most buffers that one call of the library takes; a longer list takes several. */
#define QIO_IOV_MAX 1024

/* ---- arguments (pyargs.c) ---- */

int qiopy_arg_size(PyObject *object, const char *name, Py_ssize_t *out);
int qiopy_arg_up_to(PyObject *object, const char *name, QioUpTo *out);
int qiopy_arg_int32(PyObject *object, const char *name, int32_t *out);
int qiopy_arg_int64(PyObject *object, const char *name, int64_t *out);
int qiopy_arg_uint32(PyObject *object, const char *name, uint32_t *out);
int qiopy_arg_condition(PyObject *object, const char *name, uint32_t *out);
int qiopy_arg_shutdown(PyObject *object, const char *name, uint32_t *out);
int qiopy_arg_fd(PyObject *object, const char *name, int32_t *out);
const char *qiopy_arg_text(PyObject *object, const char *name);
int qiopy_arg_path(PyObject *object, const char *name, PyObject **out);     /* *out: bytes */
int qiopy_no_buffer(PyObject *object, const char *name, bool writable);

static inline int qiopy_arg_buffer(PyObject *object, const char *name, bool writable,
                                   Py_buffer *out)
{
    int result = PyObject_GetBuffer(object, out, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE);

    return __builtin_expect(result < 0, 0) ? qiopy_no_buffer(object, name, writable) : 0;
}


/* The timeout= of a call with so many positional arguments.  Returns: 0, -1 */
int qiopy_arg_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                      Py_ssize_t wanted, const char *method, QioTimeout *timeout);

/* Buffers of one call, exported until qiopy_buffers_release(). */
typedef struct QioBuffers {
    Py_buffer *views;
    qioh_iovec *iov;
    size_t count;
    size_t total;
} QioBuffers;
int qiopy_arg_buffers(PyObject *object, const char *name, bool writable, QioBuffers *out);
void qiopy_buffers_release(QioBuffers *buffers);

/* NULL-terminated strings of a sequence; paths are encoded as the file system wants. */
typedef struct QioStrings {
    PyObject *owner;            /* keeps the bytes */
    const char **items;
} QioStrings;
int qiopy_arg_strings(PyObject *object, const char *name, QioStrings *out);
void qiopy_strings_release(QioStrings *strings);

/* The options of an open: a dictionary of str to str, int, bytes or list of str; None = none. */
int qiopy_arg_options(PyObject *object, const char *name, qioh_options **out);

/* ---- channels (pyread.c, pywrite.c, pychannel.c) ---- */

/* Gives bytes back to the channel while an exception is on its way. */
void qiopy_give_back(QioObject *self, const void *buf, size_t len);
/* Raises IncompleteReadError; NULL. */
PyObject *qiopy_incomplete(const char *buf, Py_ssize_t have, Py_ssize_t expected);
/* One try each, without waiting: what the library says. */
qioh_ssize qiopy_try_read(QioObject *self, void *buf, size_t len, qioh_error *error);
qioh_ssize qiopy_try_write(QioObject *self, const void *buf, size_t len, qioh_error *error);
PyObject *qiopy_readinto(QioObject *self, void *buf, size_t len, QioTimeout timeout);
/* Goes on after a first try that gave n, as the channel says. */
PyObject *qiopy_readinto_on(QioObject *self, void *buf, size_t len, qioh_ssize n,
                            qioh_error *error);
PyObject *qiopy_read(QioObject *self, Py_ssize_t n, QioTimeout timeout);
PyObject *qiopy_read_some(QioObject *self, Py_ssize_t n, QioTimeout timeout);
PyObject *qiopy_read_exactly(QioObject *self, Py_ssize_t n, int eof_ok, QioTimeout timeout);
#define QIO_LINE_LIMIT 16777216                 /* as the default limit of read_until() */
PyObject *qiopy_read_line(QioObject *self, QioTimeout timeout);
PyObject *qiopy_read_until(QioObject *self, PyObject *delims, Py_ssize_t limit,
                           QioTimeout timeout);
PyObject *qiopy_readv(QioObject *self, PyObject *buffers, QioTimeout timeout);
PyObject *qiopy_peek(QioObject *self, Py_ssize_t n, QioTimeout timeout);
PyObject *qiopy_pread(QioObject *self, Py_ssize_t n, int64_t offset);
PyObject *qiopy_pread_into(QioObject *self, void *buf, size_t len, int64_t offset);
PyObject *qiopy_recv_fds(QioObject *self, Py_ssize_t n, Py_ssize_t maxfds, QioTimeout timeout);

PyObject *qiopy_write(QioObject *self, const void *buf, size_t len, QioTimeout timeout);
PyObject *qiopy_write_on(QioObject *self, const void *buf, size_t len, qioh_ssize n,
                         qioh_error *error);
PyObject *qiopy_write_all(QioObject *self, const void *buf, size_t len, QioTimeout timeout);
PyObject *qiopy_writev(QioObject *self, PyObject *buffers, bool all, QioTimeout timeout);
PyObject *qiopy_pwrite(QioObject *self, const void *buf, size_t len, int64_t offset);
PyObject *qiopy_flush(QioObject *self);
/* Sends what is held back, without waiting: 1 all is out, 0 would block, -1 exception. */
int qiopy_try_flush(QioObject *self);
PyObject *qiopy_shutdown(QioObject *self, uint32_t how, QioTimeout timeout);
PyObject *qiopy_send_fds(QioObject *self, const void *buf, size_t len, PyObject *fds,
                         QioTimeout timeout);

/* Puts our own entry points for the hottest methods before those of SWIG. */
void qiopy_channel_methods(PyMethodDef *methods);
PyObject *qiopy_adopt(PyObject *class);
PyObject *qiopy_channel_close(QioObject *self);
PyObject *qiopy_channel_get_poll(QioObject *self, uint32_t condition);
PyObject *qiopy_channel_fileno(QioObject *self);
PyObject *qiopy_channel_detach(QioObject *self);
PyObject *qiopy_channel_closed(QioObject *self);
typedef qioh_ssize (*QioStringFunc)(qioh_channel *, char *, size_t, qioh_error *);
PyObject *qiopy_channel_string(QioObject *self, QioStringFunc func);
PyObject *qiopy_channel_peer_cred(QioObject *self);
PyObject *qiopy_channel_exit_status(QioObject *self);
PyObject *qiopy_channel_wait_exit(QioObject *self, QioTimeout timeout);

/* ---- TLS (pytls.c) ---- */

PyObject *qiopy_creds_new(uint32_t kind, PyObject *keys, int server);
PyObject *qiopy_creds_set_authorize(QioObject *self, PyObject *fn);
PyObject *qiopy_creds_set_lookup(QioObject *self, PyObject *fn);
PyObject *qiopy_new_tls(QioObject *self, PyObject *creds, PyObject *keys, int server);
/* The object of a new layer on below; the error when there is none. */
PyObject *qiopy_layered(QioObject *below, qioh_channel *layer, const qioh_error *error);
int qiopy_do_handshake(QioObject *self, QioTimeout timeout);
PyObject *qiopy_handshake(QioObject *self, QioTimeout timeout);
PyObject *qiopy_transport(QioObject *self);
PyObject *qiopy_unwrap_layer(QioObject *self, QioTimeout timeout);
typedef qioh_ssize (*QioKeyedFunc)(qioh_channel *, const char *, char *, size_t, qioh_error *);
PyObject *qiopy_keyed_string(QioObject *self, QioKeyedFunc func, const char *key);
PyObject *qiopy_tls_certificate(QioObject *self, uint32_t index);
PyObject *qiopy_tls_export(QioObject *self, const char *label, Py_ssize_t length,
                           PyObject *context);

/* A layer moved bytes: its handshake is over. */
static inline void qiopy_established(QioObject *self)
{
    if (__builtin_expect(!self->keep, 0) && !self->foreign) {
        self->keep = QIO_UNLOCK_LAYER_BYTES;
    }
}

/* The GIL goes for a call that moves so many bytes; a call of none may do the handshake. */
static inline PyThreadState *qiopy_unlock(const QioObject *self, size_t len)
{
    return __builtin_expect(len >= self->keep, 0) ? PyEval_SaveThread() : NULL;
}

/*
 * After a call with the result n.  Returns: n; but a WebSocket's request that waits for on_request
 * is something to wait for: AGAIN, and qiopy_wait() sees to it
 */
static inline qioh_ssize qiopy_relock(QioObject *self, PyThreadState *unlocked, qioh_ssize n,
                                      qioh_error *error)
{
    if (unlocked) {
        PyEval_RestoreThread(unlocked);
        if (n >= 0) {
            qiopy_established(self);
        } else if (n == QIOH_E_BUSY && self->on_request) {
            error->code = 0;
            return QIOH_E_AGAIN;
        }
    }
    return n;
}

/* ---- WebSocket (pywebsock.c) ---- */

PyObject *qiopy_recv(QioObject *self, QioTimeout timeout);
PyObject *qiopy_send(QioObject *self, PyObject *message, QioTimeout timeout);
/* The rest of a message that was begun.  Returns: 1 sent, 0 would block, -1 exception */
int qiopy_flush_message(QioObject *self, QioTimeout timeout);
PyObject *qiopy_ping(QioObject *self, const void *buf, size_t len);
PyObject *qiopy_new_websocket(QioObject *self, PyObject *keys, int server);
PyObject *qiopy_set_on_request(QioObject *self, PyObject *fn);
PyObject *qiopy_ws_accept(QioObject *self, const char *protocol);
PyObject *qiopy_ws_reject(QioObject *self, uint32_t status, const char *reason);
/* The request of a client waits: asks on_request.  Returns: 0, -1 exception */
int qiopy_answer_request(QioObject *self);
void qiopy_message_free(QioObject *self);
/* Gives send and recv to the class of WebSockets. */
PyObject *qiopy_adopt_messages(PyObject *class);

/* ---- opening and listening (pyopen.c) ---- */

PyObject *qiopy_open_uri(const char *uri, PyObject *options, QioTimeout timeout);
PyObject *qiopy_new_pair(void);
PyObject *qiopy_listener_accept(QioObject *self, QioTimeout timeout);
/* None when nobody waits */
PyObject *qiopy_listener_accept_now(QioObject *self);
PyObject *qiopy_listener_addresses(QioObject *self);
PyObject *qiopy_listener_fileno(QioObject *self);
PyObject *qiopy_listener_close(QioObject *self);

/* ---- descriptors (pyfd.c) ---- */

int qiopy_fd_init(PyObject *dict);
PyObject *qiopy_fd_new(int fd);                 /* owns fd from then on, closed on failure */
int qiopy_fd_drop(PyObject *object, int fd);    /* closes what was given as that number */

/* ---- channels written in Python (pycustom.c) ---- */

int qiopy_custom_init(PyObject *dict);
/* A new object of the class, which has written the methods of these bits. */
PyObject *qiopy_custom_new(PyObject *type, PyObject *loop, uint32_t written);
void qiopy_custom_finalize(QioObject *self);
int qiopy_custom_traverse(QioObject *self, visitproc visit, void *arg);
void qiopy_custom_clear(QioObject *self);
void qiopy_custom_dealloc(QioObject *self);
bool qiopy_custom_has_fileno(const QioObject *self);
/* Raises the exception behind an error's number: 1 raised, 0 there is none. */
int qiopy_raise_kept(int64_t id);

/* ---- loops (pyloop.c) ---- */

typedef struct QioShell QioShell;

/* A function that the library holds for an owner: with three references, as new_shell(); target,
 * or NULL, lives as long. */
QioShell *qiopy_shell_new(QioObject *owner, const char *name, PyObject *fn, PyObject *target);
PyObject *qiopy_shell_fn(QioShell *shell);      /* new reference; NULL: it is gone */
void qiopy_shell_unref(QioShell *shell);
void qiopy_shell_release(void *user_data);      /* the library's reference */
/* The owner goes, the library keeps the functions. */
void qiopy_shells_leave(QioObject *owner);

int qiopy_loop_new(QioObject *self);
int qiopy_loop_traverse(QioObject *self, visitproc visit, void *arg);
void qiopy_loop_clear(QioObject *self);
void qiopy_loop_dealloc(QioObject *self);
void qiopy_watch_dealloc(QioObject *self);
PyObject *qiopy_loop_run(QioObject *self);
PyObject *qiopy_loop_run_once(QioObject *self, QioTimeout timeout);
PyObject *qiopy_loop_close(QioObject *self);
PyObject *qiopy_loop_watch(QioObject *self, PyObject *target, uint32_t condition, PyObject *fn);
PyObject *qiopy_loop_add_timer(QioObject *self, PyObject *after, PyObject *fn, PyObject *every);
PyObject *qiopy_loop_defer(QioObject *self, PyObject *fn);
PyObject *qiopy_watch_remove(QioObject *self);

/* ---- asyncio (pyaio.c) ---- */

extern PyObject *qiopy_try;                     /* as timeout=: QIO_TIMEOUT_TRY */
int qiopy_aio_init(PyObject *dict);
PyObject *qiopy_set_aio(PyObject *running, PyObject *home);
int qiopy_aio_traverse(QioObject *channel, visitproc visit, void *arg);
void qiopy_aio_free(QioObject *channel);
/*
 * Before a channel's descriptor is closed or given away: no loop watches it any more, and who waits
 * in one gets AbortedError.  Raises nothing.  Returns: 0; 1 a loop of another thread watches, which
 * was asked to close the channel, if that was wanted
 */
int qiopy_aio_closing(QioObject *channel, bool close);

/* ---- tasks (pytask.c) ---- */

int qiopy_task_init(PyObject *dict);
/* The object of a task, which it takes; fn is called without arguments at its end.  The loop must
 * not have been dispatched since the start.  task NULL: raises the error. */
PyObject *qiopy_task_new(QioObject *loop, qioh_task *task, PyObject *fn, PyObject *keeps,
                         const qioh_error *error);
PyObject *qiopy_loop_open(QioObject *self, const char *uri, qioh_options *options, PyObject *fn);
PyObject *qiopy_loop_listen(QioObject *self, const char *uri, qioh_options *options, PyObject *fn);
PyObject *qiopy_loop_handshake(QioObject *self, PyObject *channel, int32_t ms, PyObject *fn);
PyObject *qiopy_loop_close_channel(QioObject *self, PyObject *channel, int32_t ms, PyObject *fn);
PyObject *qiopy_loop_wait_exit(QioObject *self, PyObject *channel, PyObject *fn);

/* ---- relays (pyrelay.c) ---- */

/* A relay that runs in the loop; filter may be None; fn is called without arguments at its end. */
PyObject *qiopy_loop_relay(QioObject *self, PyObject *a, PyObject *b, qioh_options *options,
                           PyObject *filter, PyObject *fn);

#endif
