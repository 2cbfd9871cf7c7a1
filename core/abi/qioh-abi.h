/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qioh-abi.h: the flat ABI of libqio as declarations only.
 *
 * No preprocessor lines, attributes, inline bodies, bit-fields, varargs or aggregates by
 * value: this text is fed unchanged to cffi, LuaJIT, SWIG and a C or C++ compiler.  The
 * installed wrapper qioh.h adds the include guard, <stdint.h>, <stddef.h> and the C++
 * linkage block around it.  docs/abi.md gives the reasons.
 *
 * Handles: the value is a checked token, never an address; NULL = none.
 * Ownership by the verb after the noun: new open ref take accept start return
 * an owned handle, NULL on failure; get a borrowed one; unref gives one up.
 *
 * Order: object, its buffer as in POSIX, other inputs, outputs, loop and cookie,
 * error.  Callbacks: object, inputs, user_data, error.
 *
 * Results: >= 0 good, < 0 one of QIOH_E_*.  Outputs are untouched on failure.
 * error: owned by the caller, NULL allowed (callbacks always get one), filled on failure,
 * untouched on success and on AGAIN.  A function that returns a handle never
 * answers AGAIN.
 *
 * Strings in: UTF-8 with a final NUL.  Strings out: copied with a final NUL into
 * (buf, cap); the result is the length without it; (NULL, 0) asks for the length;
 * too small is QIOH_E_TRUNCATED.  Static strings are the only ones returned.
 * Times: milliseconds, -1 = for ever, 0 = try.
 */
typedef struct qioh_channel qioh_channel;
typedef struct qioh_listener qioh_listener;
typedef struct qioh_loop qioh_loop;
typedef struct qioh_watch qioh_watch;
typedef struct qioh_task qioh_task;            /* in qioh_event only so far */
typedef struct qioh_fdset qioh_fdset;
typedef struct qioh_options qioh_options;

typedef int32_t qioh_status;
typedef int64_t qioh_ssize;

/* ---- constants ---- */

enum { QIOH_ABI_VERSION = 0 };                 /* compare with qioh_abi_version() */

enum {
  QIOH_OK = 0,
  QIOH_E_SYSTEM = -1,                          /* see sys_errno */
  QIOH_E_AGAIN = -2,                           /* would block */
  QIOH_E_INTR = -3,                            /* a signal ended a wait */
  QIOH_E_INVAL = -4,
  QIOH_E_BADHANDLE = -5,
  QIOH_E_WRONGTYPE = -6,
  QIOH_E_BUSY = -7,
  QIOH_E_CLOSED = -8,                          /* closed here */
  QIOH_E_NOMEM = -9,
  QIOH_E_NOTSUP = -10,
  QIOH_E_TLS = -11,
  QIOH_E_PROTOCOL = -12,
  QIOH_E_TIMEOUT = -13,
  QIOH_E_CANCELLED = -14,
  QIOH_E_FORKED = -15,
  QIOH_E_CALLBACK = -16,
  QIOH_E_TRUNCATED = -17,                      /* buffer too small, ancillary data cut */
  QIOH_E_EOF = -18,                            /* end inside an _all */
  QIOH_E_RESOLVE = -19,
  QIOH_E_LIMIT = -20,
  QIOH_E_TLS_TRUNCATED = -21                   /* end without close_notify */
};
enum {                                         /* qioh_error.domain: what number is */
  QIOH_DOMAIN_LIBRARY = 0,
  QIOH_DOMAIN_ERRNO = 1,
  QIOH_DOMAIN_RESOLVE = 2,                     /* EAI code */
  QIOH_DOMAIN_TLS = 3,                         /* alert */
  QIOH_DOMAIN_WEBSOCKET = 4,                   /* close code */
  QIOH_DOMAIN_EXIT = 5                         /* exit status */
};
enum {                                         /* conditions, GLib's values */
  QIOH_IN = 1,
  QIOH_MORE = 2,                               /* input: more than what is read ahead */
  QIOH_OUT = 4,
  QIOH_ERR = 8,
  QIOH_HUP = 16,
  QIOH_NVAL = 32                               /* last call: the channel was closed */
};
enum { QIOH_DONTWAIT = 1 };                    /* flags */
enum {                                         /* shutdown, the seed's values */
  QIOH_SHUTDOWN_BOTH = 0,
  QIOH_SHUTDOWN_READ = 1,
  QIOH_SHUTDOWN_WRITE = 2
};
enum {                                         /* features, the seed's values */
  QIOH_FEATURE_FD_PASS = 0,
  QIOH_FEATURE_SHUTDOWN = 1,
  QIOH_FEATURE_LISTEN = 2
};
enum {                                         /* kinds of handles: from 4, so that a token */
  QIOH_KIND_ANY = 0,                           /* is never a user-space address */
  QIOH_KIND_CHANNEL = 4,
  QIOH_KIND_LISTENER = 5,
  QIOH_KIND_LOOP = 6,
  QIOH_KIND_WATCH = 7,
  QIOH_KIND_TASK = 8,
  QIOH_KIND_FDSET = 9,
  QIOH_KIND_CREDS = 10,
  QIOH_KIND_OPTIONS = 11,
  QIOH_KIND_CLOSURE = 12
};
enum {                                         /* kinds of channels */
  QIOH_CHANNEL_OTHER = 0,                      /* a class registered from C */
  QIOH_CHANNEL_SOCKET = 1,
  QIOH_CHANNEL_FILE = 2,
  QIOH_CHANNEL_COMMAND = 3,
  QIOH_CHANNEL_BUFFER = 4,
  QIOH_CHANNEL_NULL = 5,
  QIOH_CHANNEL_TLS = 6,
  QIOH_CHANNEL_WEBSOCKET = 7,
  QIOH_CHANNEL_CUSTOM = 8,
  QIOH_CHANNEL_QUEUED = 9
};
enum {                                         /* WebSocket opcodes */
  QIOH_WS_TEXT = 1,
  QIOH_WS_BINARY = 2,
  QIOH_WS_CLOSE = 8,
  QIOH_WS_PING = 9,
  QIOH_WS_PONG = 10
};
enum {                                         /* kinds of events */
  QIOH_EV_NONE = 0,
  QIOH_EV_WATCH = 1,
  QIOH_EV_TASK = 2,
  QIOH_EV_TIMER = 3,
  QIOH_EV_ACCEPT = 4,
  QIOH_EV_CUSTOM_READ = 5,
  QIOH_EV_CUSTOM_WRITE = 6,
  QIOH_EV_RELEASED = 7,                        /* the last event with this cookie */
  QIOH_EV_DISPATCH = 8                         /* callbacks are due: call dispatch */
};

/* ---- structs ---- */

typedef struct qioh_error {                    /* 512 bytes */
  uint32_t struct_size;                        /* 0 means 512 */
  int32_t code;
  int32_t sys_errno;
  int32_t domain;
  int64_t number;
  uint64_t bytes;                              /* how far an _all, a write, a partial read came */
  char message[480];
} qioh_error;

typedef struct qioh_iovec {                    /* the layout of struct iovec */
  void *base;
  size_t len;
} qioh_iovec;

typedef struct qioh_event {                    /* struct_size of the first is the stride */
  uint32_t struct_size;
  uint32_t kind;
  uint32_t condition;                          /* WATCH */
  int32_t status;                              /* TASK: its result */
  uint64_t cookie;
  uint64_t bytes;                              /* CUSTOM_READ, _WRITE: wanted, waiting */
  qioh_channel *channel;                       /* these are borrowed and may be stale */
  qioh_watch *watch;
  qioh_task *task;
  qioh_listener *listener;
} qioh_event;

/* ---- callbacks: each registration is (fn, user_data, release) ---- */

typedef void (*qioh_release_fn)(void *user_data);     /* exactly once, also on failure */

/* watches: 1 keep, 0 remove, < 0 failed and remove */
typedef int32_t (*qioh_watch_fn)(qioh_watch *watch, qioh_channel *channel, uint32_t condition,
                                 void *user_data, qioh_error *error);
typedef int32_t (*qioh_listener_fn)(qioh_watch *watch, qioh_listener *listener,
                                    void *user_data, qioh_error *error);
typedef int32_t (*qioh_fd_fn)(qioh_watch *watch, int32_t fd, uint32_t condition,
                              void *user_data, qioh_error *error);
typedef int32_t (*qioh_timer_fn)(qioh_watch *watch, void *user_data, qioh_error *error);

/* 0 done, < 0 failed */
typedef int32_t (*qioh_defer_fn)(qioh_loop *loop, void *user_data, qioh_error *error);

/* ---- library ---- */

uint32_t qioh_abi_version(void);
const char *qioh_version_string(void);                /* static */
const char *qioh_status_name(qioh_status code);       /* static */
qioh_ssize qioh_debug_describe(uint64_t handle, char *buf, size_t cap, qioh_error *error);
int64_t qioh_debug_live(uint32_t kind);

/* ---- options: the keys are those of URIs ---- */

qioh_options *qioh_options_new(qioh_error *error);
qioh_status qioh_options_set_str(qioh_options *options, const char *key, const char *value,
                                 qioh_error *error);
qioh_status qioh_options_set_int(qioh_options *options, const char *key, int64_t value,
                                 qioh_error *error);
/* one more value of a list: arg, env, tls-alpn */
qioh_status qioh_options_add_str(qioh_options *options, const char *key, const char *value,
                                 qioh_error *error);
/* PEM text, passwords, keys: material that no URI can carry */
qioh_status qioh_options_set_bytes(qioh_options *options, const char *key, const void *buf,
                                   size_t len, qioh_error *error);
void qioh_options_unref(qioh_options *options);

/* ---- open (options may be NULL) ---- */

qioh_channel *qioh_channel_open_uri(const char *uri, qioh_options *options, qioh_error *error);
qioh_channel *qioh_channel_new_fd(int32_t fd, qioh_error *error);   /* takes fd on success only */
qioh_status qioh_channel_new_pair(qioh_channel **out2, qioh_error *error);  /* two owned handles */
qioh_channel *qioh_channel_new_file(const char *path, const char *mode, uint32_t permissions,
                                    qioh_error *error);             /* mode "r" "w" "rw" "a" */
qioh_channel *qioh_channel_new_command(const char *const *argv, qioh_options *options,
                                       qioh_error *error);          /* searches PATH */
qioh_channel *qioh_channel_new_buffer(const void *buf, size_t len, qioh_error *error); /* copies */
qioh_channel *qioh_channel_new_null(qioh_error *error);

/* ---- life ---- */

qioh_channel *qioh_channel_ref(qioh_channel *channel, qioh_error *error);
void qioh_channel_unref(qioh_channel *channel);
qioh_status qioh_channel_close(qioh_channel *channel, qioh_error *error);
qioh_status qioh_channel_cancel(qioh_channel *channel, uint32_t condition, qioh_error *error);

/* ---- I/O: read, write, readv, writev, peek, read_until, pread, pwrite obey the
   blocking mode; the try forms and QIOH_DONTWAIT never wait; 0 from a read is the end ---- */

qioh_ssize qioh_channel_read(qioh_channel *channel, void *buf, size_t len, qioh_error *error);
qioh_ssize qioh_channel_write(qioh_channel *channel, const void *buf, size_t len,
                              qioh_error *error);
qioh_ssize qioh_channel_try_read(qioh_channel *channel, void *buf, size_t len,
                                 qioh_error *error);
qioh_ssize qioh_channel_try_write(qioh_channel *channel, const void *buf, size_t len,
                                  qioh_error *error);
qioh_ssize qioh_channel_readv(qioh_channel *channel, const qioh_iovec *iov, size_t niov,
                              uint32_t flags, qioh_fdset *fds, qioh_error *error);
qioh_ssize qioh_channel_writev(qioh_channel *channel, const qioh_iovec *iov, size_t niov,
                               uint32_t flags, qioh_fdset *fds, qioh_error *error);
qioh_status qioh_channel_read_all(qioh_channel *channel, void *buf, size_t len,
                                  qioh_error *error);               /* 0, or E_EOF */
qioh_status qioh_channel_read_all_eof(qioh_channel *channel, void *buf, size_t len,
                                      qioh_error *error);           /* 1, 0 at the end, or E_EOF */
qioh_status qioh_channel_write_all(qioh_channel *channel, const void *buf, size_t len,
                                   qioh_error *error);
qioh_ssize qioh_channel_peek(qioh_channel *channel, void *buf, size_t len, uint32_t flags,
                             qioh_error *error);
/* up to and with the first of the delimiters, or what is left at the end; E_LIMIT when limit
   bytes hold none; E_TRUNCATED when it is longer than cap; then nothing was consumed.  After
   AGAIN wait for QIOH_MORE: QIOH_IN holds already while there are bytes without delimiter */
qioh_ssize qioh_channel_read_until(qioh_channel *channel, void *buf, size_t cap,
                                   const qioh_iovec *delims, size_t ndelims, size_t limit,
                                   uint32_t flags, qioh_error *error);
/* puts bytes back in front of what is to be read, for a reader that gives up half-way */
qioh_status qioh_channel_unread(qioh_channel *channel, const void *buf, size_t len,
                                qioh_error *error);
qioh_ssize qioh_channel_pread(qioh_channel *channel, void *buf, size_t len, int64_t offset,
                              qioh_error *error);
qioh_ssize qioh_channel_pwrite(qioh_channel *channel, const void *buf, size_t len,
                               int64_t offset, qioh_error *error);
qioh_status qioh_channel_flush(qioh_channel *channel, qioh_error *error);

/* ---- state ---- */

qioh_status qioh_channel_wait(qioh_channel *channel, uint32_t condition, int32_t timeout_ms,
                              qioh_error *error);                   /* condition bits, 0 time-out */
qioh_status qioh_channel_set_blocking(qioh_channel *channel, int32_t enabled,
                                      qioh_error *error);
qioh_status qioh_channel_get_blocking(qioh_channel *channel, qioh_error *error);
qioh_status qioh_channel_set_timeout(qioh_channel *channel, int32_t timeout_ms,
                                     qioh_error *error);
/* -1 none */
qioh_status qioh_channel_get_timeout(qioh_channel *channel, int32_t *timeout_ms,
                                     qioh_error *error);
qioh_status qioh_channel_shutdown(qioh_channel *channel, uint32_t how, qioh_error *error);
qioh_status qioh_channel_set_delay(qioh_channel *channel, int32_t enabled, qioh_error *error);
qioh_status qioh_channel_set_cork(qioh_channel *channel, int32_t enabled, qioh_error *error);
int64_t qioh_channel_seek(qioh_channel *channel, int64_t offset, int32_t whence,
                          qioh_error *error);
/* bytes of a buffer or a regular file, else NOTSUP */
int64_t qioh_channel_get_size(qioh_channel *channel, qioh_error *error);
qioh_status qioh_channel_has_feature(qioh_channel *channel, uint32_t feature,
                                     qioh_error *error);            /* 1, 0 */
qioh_status qioh_channel_set_name(qioh_channel *channel, const char *name, qioh_error *error);
qioh_status qioh_channel_get_kind(qioh_channel *channel, qioh_error *error);
qioh_status qioh_channel_get_fd(qioh_channel *channel, qioh_error *error);   /* stays ours */
qioh_status qioh_channel_take_fd(qioh_channel *channel, qioh_error *error);
qioh_status qioh_channel_dup_fd(qioh_channel *channel, qioh_error *error);
qioh_ssize qioh_channel_get_pending(qioh_channel *channel, qioh_error *error);
/* 1 ready now, 0 poll *fd for *events, NOTSUP no descriptor */
qioh_status qioh_channel_get_poll(qioh_channel *channel, uint32_t condition, int32_t *fd,
                                  uint32_t *events, qioh_error *error);
qioh_ssize qioh_channel_get_name(qioh_channel *channel, char *buf, size_t cap,
                                 qioh_error *error);
qioh_ssize qioh_channel_get_local_address(qioh_channel *channel, char *buf, size_t cap,
                                          qioh_error *error);
qioh_ssize qioh_channel_get_peer_address(qioh_channel *channel, char *buf, size_t cap,
                                         qioh_error *error);
qioh_status qioh_channel_get_peer_cred(qioh_channel *channel, int32_t *pid, uint32_t *uid,
                                       uint32_t *gid, qioh_error *error);

/* ---- command ---- */

qioh_status qioh_channel_get_pid(qioh_channel *channel, qioh_error *error);
qioh_status qioh_channel_kill(qioh_channel *channel, int32_t signum, qioh_error *error);
/* AGAIN while it runs; status -1 = unknown; signum > 0 = ended by it */
qioh_status qioh_channel_get_exit_status(qioh_channel *channel, int32_t *exit_status,
                                         int32_t *signum, qioh_error *error);
/* 1 ended, 0 time-out; the outputs as above; also after close */
qioh_status qioh_channel_wait_exit(qioh_channel *channel, int32_t timeout_ms,
                                   int32_t *exit_status, int32_t *signum, qioh_error *error);
qioh_channel *qioh_channel_take_stderr(qioh_channel *channel, qioh_error *error);

/* ---- listen ---- */

qioh_listener *qioh_listener_open_uri(const char *uri, qioh_options *options,
                                      qioh_error *error);
/* never handshakes; nobody in time is NULL and TIMEOUT, also for timeout_ms 0 */
qioh_channel *qioh_listener_accept(qioh_listener *listener, int32_t timeout_ms,
                                   qioh_error *error);
qioh_ssize qioh_listener_get_address(qioh_listener *listener, uint32_t index, char *buf,
                                     size_t cap, qioh_error *error); /* INVAL after the last */
qioh_status qioh_listener_get_fd(qioh_listener *listener, uint32_t index,
                                 qioh_error *error);
qioh_status qioh_listener_close(qioh_listener *listener, qioh_error *error);
void qioh_listener_unref(qioh_listener *listener);

/* ---- loop ---- */

qioh_loop *qioh_loop_new(qioh_error *error);
void qioh_loop_unref(qioh_loop *loop);
qioh_status qioh_loop_close(qioh_loop *loop, qioh_error *error);    /* runs what is to release */
qioh_status qioh_loop_get_fd(qioh_loop *loop, qioh_error *error);
qioh_status qioh_loop_wait(qioh_loop *loop, int32_t timeout_ms,
                           qioh_error *error);                     /* 1 something due, 0 time-out */
qioh_status qioh_loop_dispatch(qioh_loop *loop, int32_t timeout_ms,
                               qioh_error *error);                  /* callbacks run */
qioh_status qioh_loop_next_events(qioh_loop *loop, qioh_event *events, uint32_t cap,
                                  int32_t timeout_ms, qioh_error *error);  /* events filled */
qioh_status qioh_loop_run(qioh_loop *loop, qioh_error *error);
qioh_status qioh_loop_quit(qioh_loop *loop, qioh_error *error);
qioh_status qioh_loop_wakeup(qioh_loop *loop, qioh_error *error);
qioh_status qioh_loop_defer(qioh_loop *loop, qioh_defer_fn fn, void *user_data,
                            qioh_release_fn release, qioh_error *error);
qioh_status qioh_loop_attach_glib(qioh_loop *loop, void *main_context, qioh_error *error);

/* ---- watches ---- */

qioh_watch *qioh_watch_new(qioh_loop *loop, qioh_channel *channel, uint32_t condition,
                           qioh_watch_fn fn, void *user_data, qioh_release_fn release,
                           qioh_error *error);
qioh_watch *qioh_watch_new_queued(qioh_loop *loop, qioh_channel *channel, uint32_t condition,
                                  uint64_t cookie, qioh_error *error);
qioh_watch *qioh_watch_new_listener(qioh_loop *loop, qioh_listener *listener,
                                    qioh_listener_fn fn, void *user_data,
                                    qioh_release_fn release, qioh_error *error);
qioh_watch *qioh_watch_new_listener_queued(qioh_loop *loop, qioh_listener *listener,
                                           uint64_t cookie, qioh_error *error);
qioh_watch *qioh_watch_new_fd(qioh_loop *loop, int32_t fd, uint32_t condition, qioh_fd_fn fn,
                              void *user_data, qioh_release_fn release, qioh_error *error);
qioh_watch *qioh_watch_new_fd_queued(qioh_loop *loop, int32_t fd, uint32_t condition,
                                     uint64_t cookie, qioh_error *error);
qioh_watch *qioh_watch_new_timer(qioh_loop *loop, int64_t after_ms, int64_t every_ms,
                                 qioh_timer_fn fn, void *user_data, qioh_release_fn release,
                                 qioh_error *error);                /* every_ms 0: once */
qioh_watch *qioh_watch_new_timer_queued(qioh_loop *loop, int64_t after_ms, int64_t every_ms,
                                        uint64_t cookie, qioh_error *error);
qioh_status qioh_watch_remove(qioh_watch *watch, qioh_error *error);
void qioh_watch_unref(qioh_watch *watch);

/* ---- descriptors ---- */

qioh_fdset *qioh_fdset_new(qioh_error *error);
qioh_status qioh_fdset_add(qioh_fdset *fds, int32_t fd, qioh_error *error);      /* dups */
qioh_status qioh_fdset_count(qioh_fdset *fds, qioh_error *error);
qioh_status qioh_fdset_get_fd(qioh_fdset *fds, uint32_t index, qioh_error *error);
qioh_status qioh_fdset_take_fd(qioh_fdset *fds, uint32_t index, qioh_error *error);
void qioh_fdset_unref(qioh_fdset *fds);                                        /* closes the rest */
