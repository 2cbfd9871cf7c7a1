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
typedef struct qioh_task qioh_task;
typedef struct qioh_fdset qioh_fdset;
typedef struct qioh_creds qioh_creds;
typedef struct qioh_options qioh_options;
typedef struct qioh_closure qioh_closure;

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
enum {                                         /* flags */
  QIOH_DONTWAIT = 1,
  QIOH_WS_PARTIAL = 2,                         /* ws_send: more of this message follows */
  QIOH_WS_PONGS = 4                            /* ws_recv: from now on give pongs, too */
};
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
enum {                                         /* flags of qioh_channel_ops */
  QIOH_OPS_FD_PASS = 1                         /* readv and writev take descriptors along */
};
enum { QIOH_QUEUED_ROOM = 65536 };             /* bytes a queued channel holds, each way */
enum {                                         /* kinds of events */
  QIOH_EV_NONE = 0,
  QIOH_EV_WATCH = 1,
  QIOH_EV_TASK = 2,
  QIOH_EV_TIMER = 3,
  QIOH_EV_ACCEPT = 4,
  QIOH_EV_CUSTOM_READ = 5,                     /* a reader wants bytes: push */
  QIOH_EV_CUSTOM_WRITE = 6,                    /* a writer's bytes wait, or its end: pull */
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
  uint32_t condition;                          /* WATCH, CUSTOM_WRITE */
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

/* 0 done, < 0 failed; status is the task's result */
typedef int32_t (*qioh_task_fn)(qioh_task *task, int32_t status, void *user_data,
                                qioh_error *error);
/* direction 0 a to b, 1 b to a; len 0 once at the end; 0 pass on unchanged, 1 send what
   qioh_task_put was given instead */
typedef int32_t (*qioh_filter_fn)(qioh_task *task, uint32_t direction, const void *buf,
                                  size_t len, void *user_data, qioh_error *error);
typedef int32_t (*qioh_defer_fn)(qioh_loop *loop, void *user_data, qioh_error *error);

/* both run inside the call that shakes hands, with the TLS channel locked: it answers them BUSY */

/* length of the key put into (key, cap), 0 for an unknown user; creds is stale once given up */
typedef int32_t (*qioh_psk_fn)(qioh_creds *creds, const char *user, void *key, size_t cap,
                               void *user_data, qioh_error *error);
/* 1 let in, 0 refuse */
typedef int32_t (*qioh_authorize_fn)(qioh_channel *channel, const char *identity,
                                     void *user_data, qioh_error *error);

/* args[i] points to the i-th argument, result to zeroed space for it, as the signature says */
typedef void (*qioh_closure_fn)(qioh_closure *closure, void *const *args, void *result,
                                void *user_data);

/* A channel of one's own: append-only, struct_size is its size; a member may be NULL: it does
   nothing, or is NOTSUP.  Members are called on the thread that needs them, with no lock of the
   channel's held; none waits, each may call any function, close of its own channel too (it ends
   when the member has returned).  A failure is a code with the error filled in, which comes up
   unchanged through every layer; what breaks these rules becomes CALLBACK. */
typedef struct qioh_channel_ops {
  uint32_t struct_size;
  uint32_t flags;                              /* 0, or QIOH_OPS_FD_PASS */
  /* one read: at most what the blocks hold, 0 at the end, AGAIN; at most one at a time; fds, or
     NULL, is where descriptors that come along are added */
  int64_t (*readv)(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                   qioh_fdset *fds, qioh_error *error);
  /* one write: what is accepted, or AGAIN; fds, or NULL, go with the first byte and may be taken
     out */
  int64_t (*writev)(void *user_data, const qioh_iovec *iov, size_t niov, uint32_t flags,
                    qioh_fdset *fds, qioh_error *error);
  /* once, with no other member running; 0 */
  int32_t (*close)(void *user_data, qioh_error *error);
  int32_t (*shutdown)(void *user_data, uint32_t how, qioh_error *error);
  int64_t (*seek)(void *user_data, int64_t offset, int32_t whence, qioh_error *error);
  /* how one of IN, OUT is waited for, as qioh_channel_get_poll: 1 ready now; 0 poll *fd for
     *events, and ask again when it fires; NOTSUP, or no member: wait for qioh_channel_notify */
  int32_t (*get_poll)(void *user_data, uint32_t condition, int32_t *fd, uint32_t *events,
                      qioh_error *error);
  /* sends what is held back: 0, AGAIN */
  int32_t (*flush)(void *user_data, qioh_error *error);
  /* exactly once, the last call with user_data, also when making the channel fails */
  void (*release)(void *user_data);
} qioh_channel_ops;

/* ---- library [any thread] ---- */

/* QIOH_ABI_VERSION of the library; a binding compares it with its own when it loads */
uint32_t qioh_abi_version(void);
/* "0.1.0"; static */
const char *qioh_version_string(void);
/* "QIOH_E_CLOSED" for a code, "QIOH_OK" for a result; static */
const char *qioh_status_name(qioh_status code);
/* what a token is, whether alive or not, for debugging: kind, slot, references; no error
   for a number that is no token */
qioh_ssize qioh_debug_describe(uint64_t handle, char *buf, size_t cap, qioh_error *error);
/* how many handles of a kind are alive; QIOH_KIND_ANY for all; INVAL for another number */
int64_t qioh_debug_live(uint32_t kind);

/* ---- options [one thread at a time]: the keys are those of URIs ---- */

/* no settings yet [any thread] */
qioh_options *qioh_options_new(qioh_error *error);
/* sets a key, replacing what it had; INVAL names an unknown key's nearest, or what a value has
   to be */
qioh_status qioh_options_set_str(qioh_options *options, const char *key, const char *value,
                                 qioh_error *error);
/* sets a key to a number, where it takes one */
qioh_status qioh_options_set_int(qioh_options *options, const char *key, int64_t value,
                                 qioh_error *error);
/* one more value of a list: arg, env, tls-alpn */
qioh_status qioh_options_add_str(qioh_options *options, const char *key, const char *value,
                                 qioh_error *error);
/* PEM text, passwords, keys: material that no URI can carry */
qioh_status qioh_options_set_bytes(qioh_options *options, const char *key, const void *buf,
                                   size_t len, qioh_error *error);
/* credentials for the TLS layers of a URI, in the place of its keys; copied by reference */
qioh_status qioh_options_set_creds(qioh_options *options, qioh_creds *creds, qioh_error *error);
/* gives the handle up [any thread] */
void qioh_options_unref(qioh_options *options);

/* ---- credentials [any thread]: of one end of TLS, for any number of channels; what they are is
   read and checked when they are made: E_TLS with a number from 256 up where a certificate is at
   fault ---- */

/* certificates: tls-dir, or tls-ca tls-cert tls-key tls-crl as paths or, by options_set_bytes,
   PEM; tls-password tls-verify tls-sanity tls-priority; a client without authority trusts the
   system's */
qioh_creds *qioh_creds_new_x509(qioh_options *options, int32_t server, qioh_error *error);
/* shared keys: tls-psk-file tls-psk-user tls-psk-key tls-priority, or creds_set_psk_lookup */
qioh_creds *qioh_creds_new_psk(qioh_options *options, int32_t server, qioh_error *error);
/* neither end says who it is: tls-priority */
qioh_creds *qioh_creds_new_anon(qioh_options *options, int32_t server, qioh_error *error);
/* asks fn for keys that no file has; before a channel uses the credentials, else BUSY; INVAL when
   they are of another kind */
qioh_status qioh_creds_set_psk_lookup(qioh_creds *creds, qioh_psk_fn fn, void *user_data,
                                      qioh_release_fn release, qioh_error *error);
/* asks fn about every peer before anything of it can be read; before a channel uses the
   credentials, else BUSY; INVAL where a peer has no identity to ask about */
qioh_status qioh_creds_set_authorize(qioh_creds *creds, qioh_authorize_fn fn, void *user_data,
                                     qioh_release_fn release, qioh_error *error);
/* gives the handle up; channels made with the credentials keep them */
void qioh_creds_unref(qioh_creds *creds);

/* ---- open [any thread]: options may be NULL and are copied ---- */

/* opens and connects within the key "timeout" (30 s); INTR on a signal; what the key "allow" of
   the options does not name is not opened */
qioh_channel *qioh_channel_open_uri(const char *uri, qioh_options *options, qioh_error *error);
/* a socket or file channel around a descriptor, which it takes on success only */
qioh_channel *qioh_channel_new_fd(int32_t fd, qioh_error *error);
/* two connected unix sockets: two owned handles in out2[0] and out2[1] */
qioh_status qioh_channel_new_pair(qioh_channel **out2, qioh_error *error);
/* opens a path; mode is "r", "w" (made, emptied), "rw" (made) or "a" (made, appended to);
   permissions, less the umask, are those of a file that is made */
qioh_channel *qioh_channel_new_file(const char *path, const char *mode, uint32_t permissions,
                                    qioh_error *error);
/* starts a child process, argv ending in NULL, argv[0] searched in PATH; keys env, cwd, stderr,
   stderr-fd, close-timeout */
qioh_channel *qioh_channel_new_command(const char *const *argv, qioh_options *options,
                                       qioh_error *error);
/* memory as a channel, positioned at the start of a copy of (buf, len) */
qioh_channel *qioh_channel_new_buffer(const void *buf, size_t len, qioh_error *error);
/* nothing as a channel: reads end at once, writes are swallowed */
qioh_channel *qioh_channel_new_null(qioh_error *error);
/* TLS over a channel, whose I/O is then the layer's (others get BUSY) and whose bytes that were
   read ahead are its first input; closing either closes both; shakes hands at the first transfer
   or in channel_handshake; tls-hostname tls-alpn tls-relaxed tls-resume handshake-timeout name */
qioh_channel *qioh_channel_new_tls_client(qioh_channel *channel, qioh_creds *creds,
                                          qioh_options *options, qioh_error *error);
/* the other end of new_tls_client; tls-acl, and its keys but tls-hostname */
qioh_channel *qioh_channel_new_tls_server(qioh_channel *channel, qioh_creds *creds,
                                          qioh_options *options, qioh_error *error);
/* a WebSocket over a channel, as new_tls_client otherwise; ws-mode stream (the default) is read and
   written, messages has ws_send and ws_recv; ws-path ws-host ws-origin ws-protocol ws-header
   ws-deflate ws-max-message ws-max-inflated handshake-timeout name */
qioh_channel *qioh_channel_new_ws_client(qioh_channel *channel, qioh_options *options,
                                         qioh_error *error);
/* the other end of new_ws_client: its keys, and ws-request: who asks waits for ws_accept */
qioh_channel *qioh_channel_new_ws_server(qioh_channel *channel, qioh_options *options,
                                         qioh_error *error);
/* a channel that this program implements without a callback: what its reader and its writer ask
   for comes as events of the loop, with the cookie; the section on queued channels says the rest;
   keep a reference for the side that answers */
qioh_channel *qioh_channel_new_queued(qioh_loop *loop, uint64_t cookie, qioh_error *error);

/* a channel of the caller's functions, of which ops is copied; loop, or NULL, is where release is
   called and whose dispatch notifies: who would wait for the channel there, on that thread, while
   it has no descriptor, gets BUSY */
qioh_channel *qioh_channel_new_custom(qioh_loop *loop, const qioh_channel_ops *ops,
                                      void *user_data, qioh_error *error);

/* ---- life [any thread] ---- */

/* one more reference on the same token */
qioh_channel *qioh_channel_ref(qioh_channel *channel, qioh_error *error);
/* gives one reference up; the last one closes the channel, without waiting for a command */
void qioh_channel_unref(qioh_channel *channel);
/* stops I/O: blocked calls end CANCELLED, each watch gets a last call with NVAL; never waits for
   another thread; a command waits for its child, at most its close-timeout; INTR: a signal ended
   that wait, the channel is closed, the next close waits on; else a second close is 0 and does
   nothing */
qioh_status qioh_channel_close(qioh_channel *channel, qioh_error *error);
/* interrupts who waits for one of the conditions now: CANCELLED */
qioh_status qioh_channel_cancel(qioh_channel *channel, uint32_t condition, qioh_error *error);

/* ---- I/O [one reader and one writer]: read, write, readv, writev, peek, read_until obey the
   blocking mode: they wait up to the channel's time-out (TIMEOUT), to a signal (INTR), a cancel
   or close (CANCELLED), or answer AGAIN; the try forms and QIOH_DONTWAIT never wait; the _all
   forms always do; 0 from a read is the end ---- */

/* what there is, at most len bytes */
qioh_ssize qioh_channel_read(qioh_channel *channel, void *buf, size_t len, qioh_error *error);
/* blocking: returns when all is accepted, or fails with the error's bytes; else a count */
qioh_ssize qioh_channel_write(qioh_channel *channel, const void *buf, size_t len,
                              qioh_error *error);
/* reads without waiting, in either mode: AGAIN when there is nothing */
qioh_ssize qioh_channel_try_read(qioh_channel *channel, void *buf, size_t len,
                                 qioh_error *error);
/* writes without waiting, in either mode: what is accepted at once, or AGAIN */
qioh_ssize qioh_channel_try_write(qioh_channel *channel, const void *buf, size_t len,
                                  qioh_error *error);
/* up to 1024 blocks; fds, or NULL, collects the descriptors that come along; without it they are
   closed; flags 0 or QIOH_DONTWAIT */
qioh_ssize qioh_channel_readv(qioh_channel *channel, const qioh_iovec *iov, size_t niov,
                              uint32_t flags, qioh_fdset *fds, qioh_error *error);
/* fds, or NULL, go with the first byte and stay in the set: all or none */
qioh_ssize qioh_channel_writev(qioh_channel *channel, const qioh_iovec *iov, size_t niov,
                               uint32_t flags, qioh_fdset *fds, qioh_error *error);
/* fills the buffer: 0, or E_EOF with the error's bytes */
qioh_status qioh_channel_read_all(qioh_channel *channel, void *buf, size_t len,
                                  qioh_error *error);
/* fills the buffer, or finds the end before the first byte, which is no failure: 1 or 0 */
qioh_status qioh_channel_read_all_eof(qioh_channel *channel, void *buf, size_t len,
                                      qioh_error *error);
/* writes all of it: 0, or a failure with the error's bytes */
qioh_status qioh_channel_write_all(qioh_channel *channel, const void *buf, size_t len,
                                   qioh_error *error);
/* the next bytes, which stay to be read */
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
/* reads at an offset, leaving the position alone; NOTSUP where there is none */
qioh_ssize qioh_channel_pread(qioh_channel *channel, void *buf, size_t len, int64_t offset,
                              qioh_error *error);
/* writes at an offset, leaving the position alone; what is written past the end extends it */
qioh_ssize qioh_channel_pwrite(qioh_channel *channel, const void *buf, size_t len,
                               int64_t offset, qioh_error *error);
/* sends what the channel holds back, waiting as a write does */
qioh_status qioh_channel_flush(qioh_channel *channel, qioh_error *error);
/* the same in either mode, within timeout_ms in all: TIMEOUT, INTR on a signal; 0 never waits:
   AGAIN; what a try accepted into a layer is out only when this is 0 */
qioh_status qioh_channel_flush_within(qioh_channel *channel, int32_t timeout_ms,
                                      qioh_error *error);

/* ---- state [any thread] ---- */

/* until a transfer would not wait: the condition bits, 0 on time-out, INTR on a signal */
qioh_status qioh_channel_wait(qioh_channel *channel, uint32_t condition, int32_t timeout_ms,
                              qioh_error *error);
/* whether transfers wait; a bit of the channel, never of the descriptor */
qioh_status qioh_channel_set_blocking(qioh_channel *channel, int32_t enabled,
                                      qioh_error *error);
/* 1, 0; also after close */
qioh_status qioh_channel_get_blocking(qioh_channel *channel, qioh_error *error);
/* the most that a transfer in blocking mode waits; -1 none, as at birth */
qioh_status qioh_channel_set_timeout(qioh_channel *channel, int32_t timeout_ms,
                                     qioh_error *error);
/* what set_timeout set; also after close */
qioh_status qioh_channel_get_timeout(qioh_channel *channel, int32_t *timeout_ms,
                                     qioh_error *error);
/* ends one or both directions: the other side sees the end; NOTSUP where they are one */
qioh_status qioh_channel_shutdown(qioh_channel *channel, uint32_t how, qioh_error *error);
/* whether small writes may be held back (the opposite of TCP_NODELAY); a hint */
qioh_status qioh_channel_set_delay(qioh_channel *channel, int32_t enabled, qioh_error *error);
/* holds partial frames back until uncorked (TCP_CORK); a hint */
qioh_status qioh_channel_set_cork(qioh_channel *channel, int32_t enabled, qioh_error *error);
/* as lseek(2), SEEK_CUR counting from where the reader is; needs both directions
   [one reader and one writer] */
int64_t qioh_channel_seek(qioh_channel *channel, int64_t offset, int32_t whence,
                          qioh_error *error);
/* bytes of a buffer or a regular file, else NOTSUP */
int64_t qioh_channel_get_size(qioh_channel *channel, qioh_error *error);
/* 1, 0 */
qioh_status qioh_channel_has_feature(qioh_channel *channel, uint32_t feature,
                                     qioh_error *error);
/* for debugging; NULL clears it */
qioh_status qioh_channel_set_name(qioh_channel *channel, const char *name, qioh_error *error);
/* one of QIOH_CHANNEL_*; also after close */
qioh_status qioh_channel_get_kind(qioh_channel *channel, qioh_error *error);
/* the one descriptor of both directions, which stays the channel's; also in a forked child */
qioh_status qioh_channel_get_fd(qioh_channel *channel, qioh_error *error);
/* gives the descriptor to the caller and closes the channel around it; BUSY while a call is
   inside or bytes are read ahead; also in a forked child */
qioh_status qioh_channel_take_fd(qioh_channel *channel, qioh_error *error);
/* a copy of the descriptor for the caller, close-on-exec */
qioh_status qioh_channel_dup_fd(qioh_channel *channel, qioh_error *error);
/* bytes held above the descriptor, ready to be read */
qioh_ssize qioh_channel_get_pending(qioh_channel *channel, qioh_error *error);
/* how a foreign loop waits for one condition: 1 ready now, 0 poll *fd for *events, NOTSUP no
   descriptor */
qioh_status qioh_channel_get_poll(qioh_channel *channel, uint32_t condition, int32_t *fd,
                                  uint32_t *events, qioh_error *error);
/* what set_name set, or nothing; also after close */
qioh_ssize qioh_channel_get_name(qioh_channel *channel, char *buf, size_t cap,
                                 qioh_error *error);
/* as a URI; NOTSUP where there is none; also after close */
qioh_ssize qioh_channel_get_local_address(qioh_channel *channel, char *buf, size_t cap,
                                          qioh_error *error);
/* the other side's address as a URI; NOTSUP where there is none; also after close */
qioh_ssize qioh_channel_get_peer_address(qioh_channel *channel, char *buf, size_t cap,
                                         qioh_error *error);
/* who is on the other side of a unix socket, as the kernel knew it at connect */
qioh_status qioh_channel_get_peer_cred(qioh_channel *channel, int32_t *pid, uint32_t *uid,
                                       uint32_t *gid, qioh_error *error);

/* ---- custom and queued channels [any thread]: the side that implements them ---- */

/* transfers in these directions may not wait any more: whoever waits looks again; ERR and HUP
   mean both; for custom channels without a descriptor, WRONGTYPE where the channel knows itself */
qioh_status qioh_channel_notify(qioh_channel *channel, uint32_t condition, qioh_error *error);

/* ---- layers [any thread] ---- */

/* does what has to come before the first byte: 0 done, also on a channel that has no such thing; 1
   a request waits for an answer; TIMEOUT after timeout_ms, or when the key handshake-timeout of the
   layer is over, which bounds all calls together; INTR on a signal, after which a call goes on from
   there: also when just the last bytes of a handshake that is done had still to be sent */
qioh_status qioh_channel_handshake(qioh_channel *channel, int32_t timeout_ms,
                                   qioh_error *error);
/* the channel below, borrowed: good until the layer's handle is given up; NOTSUP on no layer */
qioh_channel *qioh_channel_get_transport(qioh_channel *channel, qioh_error *error);
/* ends the layer in order and leaves it closed; the channel below is its own again; BUSY while
   bytes are read ahead or a call is inside: then, and on TIMEOUT, nothing has changed hands */
qioh_channel *qioh_channel_take_transport(qioh_channel *channel, int32_t timeout_ms,
                                          qioh_error *error);

/* ---- TLS [any thread]: WRONGTYPE on channels of another kind, INVAL before the handshake ---- */

/* what was agreed: version cipher suite group alpn peer-name hostname resumed; also after close */
qioh_ssize qioh_channel_tls_get_str(qioh_channel *channel, const char *key, char *buf,
                                    size_t cap, qioh_error *error);
/* in DER, index 0 the peer's own, then its chain: the length, 0 when there is none; (NULL, 0) asks
   for it, too small is TRUNCATED; also after close */
qioh_ssize qioh_channel_tls_get_peer_certificate(qioh_channel *channel, uint32_t index,
                                                 void *buf, size_t cap, qioh_error *error);
/* len bytes of keying material (RFC 5705) that both ends can derive; context may be NULL */
qioh_status qioh_channel_tls_export(qioh_channel *channel, const char *label,
                                    const void *context, size_t context_len, void *buf,
                                    size_t len, qioh_error *error);
/* new keys for both directions, beside a reader and a writer; NOTSUP in TLS 1.2 */
qioh_status qioh_channel_tls_rekey(qioh_channel *channel, qioh_error *error);

/* ---- WebSocket [one reader and one writer]: WRONGTYPE on channels of another kind ---- */

/* a message, or with QIOH_WS_PARTIAL a part of one, of the opcode text or binary; as write: when
   less is accepted the next call brings the rest; NOTSUP on the face of a stream */
qioh_ssize qioh_channel_ws_send(qioh_channel *channel, const void *buf, size_t len,
                                uint32_t opcode, uint32_t flags, qioh_error *error);
/* what has come of a message, as read; fin 0: more of this message follows; opcode CLOSE: the
   close frame, once, then the clean end with 0 bytes; outputs may be NULL; E_PROTOCOL, with the
   close code in number, when it ended otherwise */
qioh_ssize qioh_channel_ws_recv(qioh_channel *channel, void *buf, size_t len, uint32_t flags,
                                uint32_t *opcode, uint32_t *fin, qioh_error *error);
/* at most 125 bytes, which come back in a pong [any thread] */
qioh_status qioh_channel_ws_ping(qioh_channel *channel, const void *buf, size_t len,
                                 qioh_error *error);
/* begins the end, with a code of 1000-1003, 1007-1014 or 3000-4999, or 0 for none, and a reason
   or NULL; waits for nothing; a second one is 0 [any thread] */
qioh_status qioh_channel_ws_close(qioh_channel *channel, uint32_t code, const char *reason,
                                  qioh_error *error);
/* what the handshake said: path protocols protocol origin, or the name of a header field; AGAIN
   before the other side has spoken; also after close [any thread] */
qioh_ssize qioh_channel_ws_get_request(qioh_channel *channel, const char *key, char *buf,
                                       size_t cap, qioh_error *error);
/* lets the client in that channel_handshake gave 1 for, with one of its protocols, NULL = the first
   that the options have; the handshake then goes on [any thread] */
qioh_status qioh_channel_ws_accept(qioh_channel *channel, const char *protocol,
                                   qioh_error *error);
/* turns it away with a status of 300 to 599 and a text, or NULL; the handshake goes on, and
   fails [any thread] */
qioh_status qioh_channel_ws_reject(qioh_channel *channel, uint32_t http_status,
                                   const char *reason, qioh_error *error);

/* ---- command [any thread]: NOTSUP on channels of another kind; also after close ---- */

/* the child's process number; also when it has ended */
qioh_status qioh_channel_get_pid(qioh_channel *channel, qioh_error *error);
/* sends a signal; 0 also when the child has ended */
qioh_status qioh_channel_kill(qioh_channel *channel, int32_t signum, qioh_error *error);
/* AGAIN while it runs; status -1 = unknown; signum > 0 = ended by it */
qioh_status qioh_channel_get_exit_status(qioh_channel *channel, int32_t *exit_status,
                                         int32_t *signum, qioh_error *error);
/* 1 ended, 0 time-out, INTR on a signal; the outputs as above */
qioh_status qioh_channel_wait_exit(qioh_channel *channel, int32_t timeout_ms,
                                   int32_t *exit_status, int32_t *signum, qioh_error *error);
/* the read end of its standard error, once; NOTSUP unless the key stderr was pipe */
qioh_channel *qioh_channel_take_stderr(qioh_channel *channel, qioh_error *error);

/* ---- queued channels, the side that answers [any thread]: WRONGTYPE on channels of another kind.
   CUSTOM_READ: a read found nothing, or somebody waits to read; bytes = how much it asked for (the
   whole room when it did not say).  CUSTOM_WRITE: bytes wait to be pulled; condition HUP: the
   writer is done (shutdown), NVAL: the channel is closed, which comes once; RELEASED ends it.
   An event is told once, until it was answered: the next CUSTOM_READ comes after a push that was
   read up, the next CUSTOM_WRITE after a pull.  Each way holds QIOH_QUEUED_ROOM bytes, so a writer
   that nobody pulls from would block, and so would a push.  Blocking in a read, a write or a wait
   is BUSY on the thread that serves the loop (who last dispatched it or took its events; before
   that, the only thread there is).  When the loop is closed, both sides get CLOSED ---- */

/* bytes for the reader, copied: how many there was room for, from 1; AGAIN when there is none,
   until the next CUSTOM_READ; INVAL after the end; SYSTEM (EPIPE) after the reader's shutdown; a
   len of 0 pushes nothing: 0 */
qioh_ssize qioh_channel_push(qioh_channel *channel, const void *buf, size_t len,
                             qioh_error *error);
/* nothing follows what was pushed: 0 is the end of the stream, a code is what reads fail with from
   then on, with the message (NULL: the code's name); once */
qioh_status qioh_channel_push_end(qioh_channel *channel, qioh_status code, const char *message,
                                  qioh_error *error);
/* bytes of the writer: how many; AGAIN when none wait; 0 when all were pulled and none can follow:
   after its shutdown, and after a close, where what was written before still comes; INVAL for a
   len of 0, which would look like that end */
qioh_ssize qioh_channel_pull(qioh_channel *channel, void *buf, size_t len, qioh_error *error);

/* ---- listen [any thread] ---- */

/* listens where the URI says; port 0 and an empty unix path are chosen; a stale unix socket is
   replaced, anything else in its place is EADDRINUSE */
qioh_listener *qioh_listener_open_uri(const char *uri, qioh_options *options,
                                      qioh_error *error);
/* a client, with the layers of the URI; never handshakes; nobody in time is NULL and TIMEOUT, also
   for timeout_ms 0; INTR on a signal */
qioh_channel *qioh_listener_accept(qioh_listener *listener, int32_t timeout_ms,
                                   qioh_error *error);
/* as a client's URI, with layers and what the kernel chose; INVAL after the last; also after
   close */
qioh_ssize qioh_listener_get_address(qioh_listener *listener, uint32_t index, char *buf,
                                     size_t cap, qioh_error *error);
/* stays the listener's; INVAL after the last */
qioh_status qioh_listener_get_fd(qioh_listener *listener, uint32_t index,
                                 qioh_error *error);
/* stops listening: blocked accepts end CANCELLED, watches get a last call; a second close is 0 */
qioh_status qioh_listener_close(qioh_listener *listener, qioh_error *error);
/* gives the handle up, and with it the listener, unless a watch has it */
void qioh_listener_unref(qioh_listener *listener);

/* ---- tasks [any thread]: operations that end once, with a result, a failure, CANCELLED or
        TIMEOUT; the loop's next_events reports the end as one event TASK with the cookie, then
        RELEASED; giving the handle up does not end them ---- */

/* as channel_open_uri, which see, in the loop: also looking the name up waits for nobody; its
   channel is for take_channel; a URI that is wrong fails the task */
qioh_task *qioh_task_start_open_uri(const char *uri, qioh_options *options, qioh_loop *loop,
                                    uint64_t cookie, qioh_error *error);
/* as listener_open_uri, in the same way; its listener is for take_listener */
qioh_task *qioh_task_start_listen_uri(const char *uri, qioh_options *options, qioh_loop *loop,
                                      uint64_t cookie, qioh_error *error);
/* as channel_handshake; its status may be 1 */
qioh_task *qioh_task_start_handshake(qioh_channel *channel, int32_t timeout_ms,
                                     qioh_loop *loop, uint64_t cookie, qioh_error *error);
/* the orderly end of the layers, then close, then the end of a command, which is told to end by
   and by: the end of its input, SIGTERM, SIGKILL; the channel is closed whatever comes of it */
qioh_task *qioh_task_start_close(qioh_channel *channel, int32_t timeout_ms, qioh_loop *loop,
                                 uint64_t cookie, qioh_error *error);
/* until a command has ended, see channel_get_exit_status; NOTSUP on channels of another kind; also
   after close */
qioh_task *qioh_task_start_wait_exit(qioh_channel *channel, qioh_loop *loop, uint64_t cookie,
                                     qioh_error *error);
/* copies both ways until both have ended, see qio/relay.h; keys buffer, limit, idle-timeout; others
   get BUSY on both channels meanwhile; what was read and not written is read again by the next
   reader */
qioh_task *qioh_task_start_relay(qioh_channel *a, qioh_channel *b, qioh_options *options,
                                 qioh_loop *loop, uint64_t cookie, qioh_error *error);
/* relay only, once and before the loop's next dispatch (BUSY); fn is called in dispatches, and a
   failure of it ends the relay, with that error, as well as the dispatch */
qioh_status qioh_task_set_filter(qioh_task *task, qioh_filter_fn fn, void *user_data,
                                 qioh_release_fn release, qioh_error *error);
/* inside the filter only: what goes on in place of the chunk; LIMIT beyond 16 MiB for one chunk */
qioh_status qioh_task_put(qioh_task *task, const void *buf, size_t len, qioh_error *error);
/* relay only, NOTSUP for others: bytes that the other side has accepted so far, each way; either
   may be NULL */
qioh_status qioh_task_get_counts(qioh_task *task, uint64_t *a_to_b, uint64_t *b_to_a,
                                 qioh_error *error);
/* relay only, once it has ended: bytes that the filter gave and that were not sent */
qioh_status qioh_task_get_lost(qioh_task *task, uint64_t *a_to_b, uint64_t *b_to_a,
                               qioh_error *error);
/* calls fn once in a dispatch (or close) of the loop, instead of the event; BUSY when there is one
   already, or the event was reported.  Set it before the loop can report, best where it is
   dispatched */
qioh_status qioh_task_set_callback(qioh_task *task, qioh_task_fn fn, void *user_data,
                                   qioh_release_fn release, qioh_error *error);
/* 1 ended, 0 time-out, INTR on a signal; does the task's own work while nobody dispatches the
   loop, and calls nothing; BUSY inside a callback of the same loop, and on the thread that serves
   the queued channel which the task needs next */
qioh_status qioh_task_wait(qioh_task *task, int32_t timeout_ms, qioh_error *error);
/* ends it with CANCELLED unless it has ended */
qioh_status qioh_task_cancel(qioh_task *task, qioh_error *error);
/* AGAIN while it runs, then its result, with its detail in error */
qioh_status qioh_task_status(qioh_task *task, qioh_error *error);
/* 1 and out filled when it has failed, else 0 */
qioh_status qioh_task_get_error(qioh_task *task, qioh_error *out, qioh_error *error);
/* what it opened, once: NULL is TIMEOUT while it runs, its failure, BUSY when it was taken,
   NOTSUP for a task that opens nothing */
qioh_channel *qioh_task_take_channel(qioh_task *task, qioh_error *error);
/* the same of start_listen_uri; NOTSUP for every other task */
qioh_listener *qioh_task_take_listener(qioh_task *task, qioh_error *error);
/* gives the handle up; the task goes on */
void qioh_task_unref(qioh_task *task);

/* ---- loop [any thread] ---- */

/* an event loop, which belongs to whoever dispatches it */
qioh_loop *qioh_loop_new(qioh_error *error);
/* the last one ends the loop as close does, attached to GLib or not */
void qioh_loop_unref(qioh_loop *loop);
/* removes every registration and calls what is to release; CLOSED for every later call
   [loop thread] */
qioh_status qioh_loop_close(qioh_loop *loop, qioh_error *error);
/* readable while something is due; stays the loop's */
qioh_status qioh_loop_get_fd(qioh_loop *loop, qioh_error *error);
/* 1 something is due, 0 time-out, INTR on a signal; runs nothing */
qioh_status qioh_loop_wait(qioh_loop *loop, int32_t timeout_ms, qioh_error *error);
/* waits for something due and runs it: the number of callbacks, 0 on time-out or wake-up, INTR
   on a signal; a callback's failure ends it and is its result and error, what is due behind
   it runs in the next dispatch [loop thread] */
qioh_status qioh_loop_dispatch(qioh_loop *loop, int32_t timeout_ms, qioh_error *error);
/* the number of events filled, 0 on time-out or wake-up, INTR on a signal; calls nothing;
   DISPATCH when callbacks are due [loop thread] */
qioh_status qioh_loop_next_events(qioh_loop *loop, qioh_event *events, uint32_t cap,
                                  int32_t timeout_ms, qioh_error *error);
/* dispatches until a quit: 0, or as dispatch; INVAL when events of queued watches are due, which
   it cannot report [loop thread] */
qioh_status qioh_loop_run(qioh_loop *loop, qioh_error *error);
/* makes the current or the next run return */
qioh_status qioh_loop_quit(qioh_loop *loop, qioh_error *error);
/* makes the current or the next wait return; with a NULL error also from a signal handler */
qioh_status qioh_loop_wakeup(qioh_loop *loop, qioh_error *error);
/* calls fn once, in a later dispatch, in the order of the calls */
qioh_status qioh_loop_defer(qioh_loop *loop, qioh_defer_fn fn, void *user_data,
                            qioh_release_fn release, qioh_error *error);
/* lets a GMainContext dispatch it, NULL for the default one; once [loop thread] */
qioh_status qioh_loop_attach_glib(qioh_loop *loop, void *main_context, qioh_error *error);

/* ---- watches [any thread]: level-triggered, until removed; ERR, HUP and NVAL come unasked; the
   handle may be given up, the watch stays; a queued one is an event with the cookie ---- */

/* while the channel is ready for the condition; once more, with NVAL, after a close */
qioh_watch *qioh_watch_new(qioh_loop *loop, qioh_channel *channel, uint32_t condition,
                           qioh_watch_fn fn, void *user_data, qioh_release_fn release,
                           qioh_error *error);
/* watch_new with an event in place of each call */
qioh_watch *qioh_watch_new_queued(qioh_loop *loop, qioh_channel *channel, uint32_t condition,
                                  uint64_t cookie, qioh_error *error);
/* while a client waits; once more after a close */
qioh_watch *qioh_watch_new_listener(qioh_loop *loop, qioh_listener *listener,
                                    qioh_listener_fn fn, void *user_data,
                                    qioh_release_fn release, qioh_error *error);
/* watch_new_listener with an event (ACCEPT) in place of each call */
qioh_watch *qioh_watch_new_listener_queued(qioh_loop *loop, qioh_listener *listener,
                                           uint64_t cookie, qioh_error *error);
/* a descriptor that stays the caller's: remove the watch before closing it */
qioh_watch *qioh_watch_new_fd(qioh_loop *loop, int32_t fd, uint32_t condition, qioh_fd_fn fn,
                              void *user_data, qioh_release_fn release, qioh_error *error);
/* watch_new_fd with an event in place of each call */
qioh_watch *qioh_watch_new_fd_queued(qioh_loop *loop, int32_t fd, uint32_t condition,
                                     uint64_t cookie, qioh_error *error);
/* every_ms 0: once; a late repeating one fires once, not for each period it missed */
qioh_watch *qioh_watch_new_timer(qioh_loop *loop, int64_t after_ms, int64_t every_ms,
                                 qioh_timer_fn fn, void *user_data, qioh_release_fn release,
                                 qioh_error *error);
/* watch_new_timer with an event (TIMER) in place of each call */
qioh_watch *qioh_watch_new_timer_queued(qioh_loop *loop, int64_t after_ms, int64_t every_ms,
                                        uint64_t cookie, qioh_error *error);
/* this thread does not call it again, another may just be; a second time is 0; also from inside
   the callback */
qioh_status qioh_watch_remove(qioh_watch *watch, qioh_error *error);
/* gives the handle up; the watch stays */
void qioh_watch_unref(qioh_watch *watch);

/* ---- closures [any thread]: bare C function pointers that arrive at one function of the caller,
   for a language that can make a single callback, and for code that knows no user_data ---- */

/* a pointer of this signature: result(argument,...) with p pointers, handles and strings, z size_t,
   i8 i16 i32 i64 u8 u16 u32 u64 integers, f32 f64, v no result; "i32(p,p,u32,p,p)" is a
   qioh_watch_fn; INVAL names the place of a fault; NOTSUP where memory for code is refused */
qioh_closure *qioh_closure_new(const char *signature, qioh_closure_fn dispatch, void *user_data,
                               qioh_release_fn release, qioh_error *error);
/* the function pointer, good until the last unref, and for the calls that run then */
void *qioh_closure_get_code(qioh_closure *closure, qioh_error *error);
/* gives the handle up, also inside a call of its own; nobody may call the pointer any more */
void qioh_closure_unref(qioh_closure *closure);

/* ---- descriptors [one thread at a time] ---- */

/* an empty set */
qioh_fdset *qioh_fdset_new(qioh_error *error);
/* puts a copy in; LIMIT after 253 */
qioh_status qioh_fdset_add(qioh_fdset *fds, int32_t fd, qioh_error *error);
/* entries, those that were taken included: an index stays what it is */
qioh_status qioh_fdset_count(qioh_fdset *fds, qioh_error *error);
/* stays the set's */
qioh_status qioh_fdset_get_fd(qioh_fdset *fds, uint32_t index, qioh_error *error);
/* gives the descriptor to the caller */
qioh_status qioh_fdset_take_fd(qioh_fdset *fds, uint32_t index, qioh_error *error);
/* closes what was not taken [any thread] */
void qioh_fdset_unref(qioh_fdset *fds);
