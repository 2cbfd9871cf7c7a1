/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel.h: the channel, one object for every transport.
 *
 * Owns: QIOChannel, the contract of its classes, and every function on a channel of any
 * class.  Rules:
 *  - A channel is born blocking; the mode is a bit of the channel, not of its descriptor.
 *  - Threads: close, cancel, shutdown, ref and unref are for any thread; one thread may read
 *    while another writes; everything else wants the caller's serialisation.
 *  - Results of a transfer: > 0 bytes, 0 end of stream (or a request of no bytes), -1 error,
 *    QIO_CHANNEL_ERR_BLOCK would block, with the error untouched.  EINTR never shows.
 *  - A class that has io_poll is waited for through descriptors; one that has only
 *    io_create_watch works too (a private GMainContext does the waiting).
 */
#ifndef QIO_CHANNEL_H
#define QIO_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <qio/aio.h>
#include <qio/coroutine.h>
#include <qio/error.h>
#include <qio/object.h>
#include <qio/task.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL "qio-channel"
#define QIO_CHANNEL(obj) OBJECT_CHECK(QIOChannel, (obj), TYPE_QIO_CHANNEL)
#define QIO_CHANNEL_CLASS(klass) OBJECT_CLASS_CHECK(QIOChannelClass, klass, TYPE_QIO_CHANNEL)
#define QIO_CHANNEL_GET_CLASS(obj) OBJECT_GET_CLASS(QIOChannelClass, obj, TYPE_QIO_CHANNEL)

typedef struct QIOChannel QIOChannel;
typedef struct QIOChannelClass QIOChannelClass;

/* A transfer that would have to wait. */
#define QIO_CHANNEL_ERR_BLOCK -2

/*
 * A condition beside G_IO_IN and G_IO_OUT, wherever the channel API takes one: more bytes than
 * those that are read ahead can be had (or the end, or an error).  G_IO_IN holds while bytes
 * are read ahead, so who looks for a delimiter beyond them waits for this.
 */
#define QIO_CHANNEL_MORE ((GIOCondition)G_IO_PRI)

/* The most descriptors that one message carries (the kernel's SCM_MAX_FD). */
#define QIO_CHANNEL_MAX_FDS 253

/* The enums come before their typedefs, so that C++ takes the header. */
enum QIOChannelFeature {
    QIO_CHANNEL_FEATURE_FD_PASS,
    QIO_CHANNEL_FEATURE_SHUTDOWN,
    QIO_CHANNEL_FEATURE_LISTEN,
};
typedef enum QIOChannelFeature QIOChannelFeature;

enum QIOChannelShutdown {
    QIO_CHANNEL_SHUTDOWN_BOTH,
    QIO_CHANNEL_SHUTDOWN_READ,
    QIO_CHANNEL_SHUTDOWN_WRITE,
};
typedef enum QIOChannelShutdown QIOChannelShutdown;

/** QIOChannelFunc: a watch's function; FALSE removes the watch. */
typedef gboolean (*QIOChannelFunc)(QIOChannel *ioc, GIOCondition condition, gpointer data);

/* The base of every channel.  The members are the base class's; subclasses leave them alone. */
struct QIOChannel {
    Object parent;
    unsigned int features;          /* bits of QIOChannelFeature */
    char *name;
    AioContext *ctx;                /* where qio_channel_yield() waits; NULL = the main loop */
    Coroutine *read_coroutine;      /* the first that waits to read */
    Coroutine *write_coroutine;
};

/**
 * QIOChannelClass:
 *
 * What a class of channels implements.  The first five are mandatory.
 * @io_writev, @io_readv: one transfer; a class with @io_poll never waits in them (it
 *   answers QIO_CHANNEL_ERR_BLOCK and the base class waits), one without obeys its last
 *   @io_set_blocking.  @fds is only ever given when the FD_PASS feature is set.
 * @io_close: releases the transport; called at most once, and by the thread that is the last
 *   to use the channel.
 * @io_create_watch: a source that calls a QIOChannelFunc; may be NULL when @io_poll is there.
 * @io_set_blocking: told of the mode; may be NULL when @io_poll is there.
 * @io_shutdown ... @io_set_aio_fd_handler: optional, as the functions of those names.
 * @io_poll: fills in up to @cap descriptors to wait for, for one or both of G_IO_IN and
 *   G_IO_OUT, and gives their count; 0 = ready in software only (see @io_advance).  Another thread
 *   may have used the channel since @io_advance said "not ready": what is ready now by that has to
 *   be seen by the descriptors that are named, or be told by qio_channel_notify().
 * @io_advance: moves bytes from the transport into the layer without waiting and says which
 *   of the conditions are ready now; NULL means that the descriptors tell it all.
 * @io_pread, @io_pwrite: positioned transfers; NULL = not supported.
 * @io_get_size: how many bytes there are in all; NULL = that cannot be said.
 * @io_flush: sends what the class itself holds back, without waiting: 0 done,
 *   QIO_CHANNEL_ERR_BLOCK (then @io_poll of G_IO_OUT names what to wait for), -1; NULL = it holds
 *   nothing.
 * @io_take_fd: gives its only descriptor away, leaving the channel without; NULL = it has none
 *   to give.
 * @io_close_wait: what qio_channel_close() does last, on its own thread and with no lock held:
 *   may wait, for a bounded time, for the other side to finish (a child process).  Ends INTR on a
 *   signal if it is interruptible, and is called again by the next close then.  Not called when
 *   the last reference goes without a close, which must not wait; NULL = nothing.
 * @io_close_step: one step of what @io_close_wait waits for, which never waits: 0 it is over; 1
 *   call it again when *@fd is readable (-1 = none) and at *@until_ns of the monotonic clock.  The
 *   whole should be over at @deadline_ns (INT64_MAX = none).  NULL = nothing.
 * @io_handshake: one step of what has to come before the first byte, without waiting: 0 done, 1 a
 *   request of the peer waits for the program's answer, QIO_CHANNEL_ERR_BLOCK (then @io_poll of
 *   G_IO_IN names what to wait for), -1; NULL = there is no such thing.
 * @io_splice_fd: the descriptor that reads (G_IO_IN) or writes (G_IO_OUT) go to as they are, and in
 *   which splice(2) does not wait until this is called again without @begin; -1 = there is none
 *   now.  NULL = the class does not just pass bytes on.
 * @io_bye: one step of the orderly end: what is held back, the word of the end, and the peer's;
 *   results as @io_handshake.
 * @io_waits_for_itself: whether a thread that now sleeps until the channel is ready would be the
 *   one that has to make it so; its wait ends BUSY then.  NULL = never.
 */
struct QIOChannelClass {
    ObjectClass parent;

    ssize_t (*io_writev)(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                         int *fds, size_t nfds, Error **errp);
    ssize_t (*io_readv)(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                        int **fds, size_t *nfds, Error **errp);
    int (*io_close)(QIOChannel *ioc, Error **errp);
    GSource *(*io_create_watch)(QIOChannel *ioc, GIOCondition condition);
    int (*io_set_blocking)(QIOChannel *ioc, bool enabled, Error **errp);

    int (*io_shutdown)(QIOChannel *ioc, QIOChannelShutdown how, Error **errp);
    void (*io_set_cork)(QIOChannel *ioc, bool enabled);
    void (*io_set_delay)(QIOChannel *ioc, bool enabled);
    off_t (*io_seek)(QIOChannel *ioc, off_t offset, int whence, Error **errp);
    void (*io_set_aio_fd_handler)(QIOChannel *ioc, AioContext *ctx, IOHandler *io_read,
                                  IOHandler *io_write, void *opaque);

    /* Beyond the seed; append-only. */
    int (*io_poll)(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, int cap);
    int (*io_advance)(QIOChannel *ioc, GIOCondition condition);
    ssize_t (*io_pread)(QIOChannel *ioc, void *buf, size_t len, off_t offset, Error **errp);
    ssize_t (*io_pwrite)(QIOChannel *ioc, const void *buf, size_t len, off_t offset, Error **errp);
    int (*io_flush)(QIOChannel *ioc, Error **errp);
    int (*io_take_fd)(QIOChannel *ioc, Error **errp);
    int (*io_close_wait)(QIOChannel *ioc, bool interruptible, Error **errp);
    off_t (*io_get_size)(QIOChannel *ioc, Error **errp);
    int (*io_handshake)(QIOChannel *ioc, Error **errp);
    int (*io_bye)(QIOChannel *ioc, Error **errp);
    int (*io_close_step)(QIOChannel *ioc, int64_t deadline_ns, int *fd, int64_t *until_ns);
    int (*io_splice_fd)(QIOChannel *ioc, GIOCondition condition, bool begin);
    bool (*io_waits_for_itself)(QIOChannel *ioc);
    gpointer reserved[1];
};

/* ---- features and name ---- */

/** qio_channel_has_feature: whether the channel supports @feature. */
bool qio_channel_has_feature(QIOChannel *ioc, QIOChannelFeature feature);
/** qio_channel_set_feature: for classes: notes that the channel supports @feature. */
void qio_channel_set_feature(QIOChannel *ioc, QIOChannelFeature feature);
/** qio_channel_set_name: names the channel and its later watches, for debugging; copies;
 * NULL clears. */
void qio_channel_set_name(QIOChannel *ioc, const char *name);

/* ---- single transfers, obeying the blocking mode ---- */

/**
 * qio_channel_readv_full:
 * @iov, @niov: where the bytes go, in order; entries of length 0 are skipped
 * @fds, @nfds: both NULL, or where an array of received descriptors goes (free the array with
 *   g_free(), close each; CLOEXEC); NULL and 0 unless the result is > 0
 * @errp: where to put an error, or NULL
 *
 * Reads once.  A blocking channel waits for at least one byte, the end or an error, for at
 * most the channel's time-out.
 * Returns: bytes read, 0 at the end of the stream, -1 on error (INVAL: @fds on a channel that
 * passes none; CLOSED; TIMEOUT; CANCELLED; TRUNCATED: descriptors were cut off, those that
 * came are closed; SYSTEM), QIO_CHANNEL_ERR_BLOCK
 */
ssize_t qio_channel_readv_full(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                               int **fds, size_t *nfds, Error **errp);

/**
 * qio_channel_writev_full:
 * @fds, @nfds: descriptors to send along (at most QIO_CHANNEL_MAX_FDS), or NULL and 0; they
 *   stay the caller's, and all of them go with the first byte
 *
 * Writes once.  A blocking channel waits until at least one byte is accepted.
 * Returns: bytes accepted, 0 for a request of no bytes, -1 on error (INVAL: descriptors with
 * no data, too many, or on a channel that passes none; others as for reading),
 * QIO_CHANNEL_ERR_BLOCK; descriptors were sent if and only if the result is > 0
 */
ssize_t qio_channel_writev_full(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                                int *fds, size_t nfds, Error **errp);

/** qio_channel_readv, qio_channel_read: qio_channel_readv_full() without descriptors; those that
 * come are closed. */
ssize_t qio_channel_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp);
ssize_t qio_channel_read(QIOChannel *ioc, char *buf, size_t buflen, Error **errp);
/** qio_channel_writev, qio_channel_write: qio_channel_writev_full() without descriptors. */
ssize_t qio_channel_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp);
ssize_t qio_channel_write(QIOChannel *ioc, const char *buf, size_t buflen, Error **errp);

/* ---- whole transfers: wait in a coroutine by yielding, elsewhere by plain waiting ---- */

/** qio_channel_readv_all_eof: fills @iov.  Returns: 1; 0 when the stream ends before the first
 * byte; -1 on error (EOF when it ends later; the error's bytes tell how many came). */
int qio_channel_readv_all_eof(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp);
/** qio_channel_readv_all: fills @iov.  Returns: 0, or -1 (EOF wherever the stream ends). */
int qio_channel_readv_all(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **errp);
/** qio_channel_writev_all: writes all of @iov.  Returns: 0, or -1 with the error's bytes. */
int qio_channel_writev_all(QIOChannel *ioc, const struct iovec *iov, size_t niov, Error **erp);
/** qio_channel_read_all_eof, qio_channel_read_all, qio_channel_write_all: the same for one
 * block. */
int qio_channel_read_all_eof(QIOChannel *ioc, char *buf, size_t buflen, Error **errp);
int qio_channel_read_all(QIOChannel *ioc, char *buf, size_t buflen, Error **errp);
int qio_channel_write_all(QIOChannel *ioc, const char *buf, size_t buflen, Error **errp);

/* ---- transfers that never wait, in either mode ---- */

/** qio_channel_try_read, qio_channel_try_write: qio_channel_read() and qio_channel_write() that
 * answer QIO_CHANNEL_ERR_BLOCK where those would wait. */
ssize_t qio_channel_try_read(QIOChannel *ioc, void *buf, size_t len, Error **errp);
ssize_t qio_channel_try_write(QIOChannel *ioc, const void *buf, size_t len, Error **errp);
/** qio_channel_try_readv, qio_channel_try_writev: qio_channel_readv_full() and
 * qio_channel_writev_full() that answer QIO_CHANNEL_ERR_BLOCK where those would wait. */
ssize_t qio_channel_try_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                              int **fds, size_t *nfds, Error **errp);
ssize_t qio_channel_try_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov,
                               int *fds, size_t nfds, Error **errp);

/* ---- read-ahead ---- */

/**
 * qio_channel_peek, qio_channel_try_peek:
 * @len: at most QIO_CHANNEL_PEEK_MAX
 *
 * Gives the next bytes and leaves them to be read.  Obeys the blocking mode: waits until at
 * least one byte is there, not for all of @len; the try form never waits.
 * Returns: bytes given (up to @len), 0 at the end, -1, QIO_CHANNEL_ERR_BLOCK
 */
ssize_t qio_channel_peek(QIOChannel *ioc, void *buf, size_t len, Error **errp);
ssize_t qio_channel_try_peek(QIOChannel *ioc, void *buf, size_t len, Error **errp);
#define QIO_CHANNEL_PEEK_MAX (16 * 1024 * 1024)

/**
 * qio_channel_read_until, qio_channel_try_read_until:
 * @buf, @cap: where the bytes go, the delimiter included
 * @delims, @ndelims: 1 to 16 delimiters of 1 to 64 bytes each
 * @limit: the most bytes to look through, 1 to QIO_CHANNEL_PEEK_MAX
 *
 * Reads up to and with the first delimiter, or what is left at the end of the stream.  Obeys
 * the blocking mode, the try form never waits; bytes that came meanwhile wait in the read-ahead,
 * so that nothing is lost to a time-out, a cancel or a limit.
 * Returns: bytes stored, 0 at the end, -1 (LIMIT: @limit bytes hold no delimiter; TRUNCATED:
 * longer than @cap, the error's bytes tell how long; then nothing was consumed),
 * QIO_CHANNEL_ERR_BLOCK (then wait for QIO_CHANNEL_MORE)
 */
ssize_t qio_channel_read_until(QIOChannel *ioc, void *buf, size_t cap, const struct iovec *delims,
                               size_t ndelims, size_t limit, Error **errp);
ssize_t qio_channel_try_read_until(QIOChannel *ioc, void *buf, size_t cap,
                                   const struct iovec *delims, size_t ndelims, size_t limit,
                                   Error **errp);

/**
 * qio_channel_unread:
 *
 * Puts bytes back in front of what is to be read next, for a reader that has to give up (time-out,
 * cancel) with part of what it wanted in its hands.  Copies @buf; never waits.
 * Returns: 0, or -1 (CLOSED, NOMEM)
 */
int qio_channel_unread(QIOChannel *ioc, const void *buf, size_t len, Error **errp);

/** qio_channel_get_pending: bytes held above the descriptor, ready to be read. */
size_t qio_channel_get_pending(QIOChannel *ioc);

/* ---- mode and end ---- */

/** qio_channel_set_blocking: sets the mode.  Returns: 0, or -1 (CLOSED). */
int qio_channel_set_blocking(QIOChannel *ioc, bool enabled, Error **errp);
/** qio_channel_get_blocking: the mode; also after close. */
bool qio_channel_get_blocking(QIOChannel *ioc);
/** qio_channel_set_timeout: the most a blocking transfer waits, in milliseconds; -1 = no limit,
 * as at birth. */
void qio_channel_set_timeout(QIOChannel *ioc, int timeout_ms);
/** qio_channel_get_timeout: what qio_channel_set_timeout() set. */
int qio_channel_get_timeout(QIOChannel *ioc);

/**
 * qio_channel_close:
 *
 * Stops I/O, never waits for another thread.  Sleepers are woken and return CANCELLED, each
 * watch gets one last call with G_IO_NVAL, waiting coroutines go on; the last thread out
 * releases the transport.  A second close is 0 and does nothing.  Any thread.
 * Returns: 0, or -1 when the transport failed to close (it is released all the same)
 */
int qio_channel_close(QIOChannel *ioc, Error **errp);
/** qio_channel_close_full: the same.  Returns: also -1 with INTR, if @interruptible, when a signal
 * ended the wait for a command: the channel is closed, and the next close waits on */
int qio_channel_close_full(QIOChannel *ioc, bool interruptible, Error **errp);
/** qio_channel_is_closed: whether it was closed, or its descriptor taken.  Any thread. */
bool qio_channel_is_closed(QIOChannel *ioc);
/** qio_channel_cancel: interrupts who waits for @condition now: CANCELLED.  Any thread. */
void qio_channel_cancel(QIOChannel *ioc, GIOCondition condition);
/** qio_channel_shutdown: ends one or both directions.  Any thread.  Returns: 0, or -1 (INVAL,
 * NOTSUP, CLOSED, SYSTEM) */
int qio_channel_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp);
/** qio_channel_set_delay: whether small writes may be held back (the opposite of TCP_NODELAY). */
void qio_channel_set_delay(QIOChannel *ioc, bool enabled);
/** qio_channel_set_cork: holds partial frames back until uncorked (TCP_CORK). */
void qio_channel_set_cork(QIOChannel *ioc, bool enabled);
/** qio_channel_io_seek: as lseek(2); drops the read-ahead first (SEEK_CUR counts from where the
 * reader is).  Returns: the new offset, or -1 (NOTSUP, INVAL, SYSTEM) */
off_t qio_channel_io_seek(QIOChannel *ioc, off_t offset, int whence, Error **errp);
/** qio_channel_get_size: the bytes of a buffer or a regular file.  Returns: -1 (NOTSUP: it has no
 * size; CLOSED; SYSTEM) */
off_t qio_channel_get_size(QIOChannel *ioc, Error **errp);
/** qio_channel_pread, qio_channel_pwrite: transfer at @offset, leaving the position alone. */
ssize_t qio_channel_pread(QIOChannel *ioc, void *buf, size_t len, off_t offset, Error **errp);
ssize_t qio_channel_pwrite(QIOChannel *ioc, const void *buf, size_t len, off_t offset,
                           Error **errp);
/** qio_channel_flush: sends what the channel holds back, waiting as a write does; one that holds
 * nothing is done at once.  Returns: 0, -1 (as a write), QIO_CHANNEL_ERR_BLOCK */
int qio_channel_flush(QIOChannel *ioc, Error **errp);
/** qio_channel_get_fd: the one descriptor that stands for both directions; it stays the
 * channel's.  Returns: a descriptor, or -1 (NOTSUP, CLOSED) */
int qio_channel_get_fd(QIOChannel *ioc, Error **errp);
/** qio_channel_take_fd: gives the descriptor to the caller and closes the channel around it.
 * Returns: a descriptor, or -1 (NOTSUP, CLOSED; BUSY: someone uses the channel, or bytes are
 * read ahead, which would be lost) */
int qio_channel_take_fd(QIOChannel *ioc, Error **errp);
/** qio_channel_new_fd: a socket or file channel around @fd, taken on success only. */
QIOChannel *qio_channel_new_fd(int fd, Error **errp);

/* ---- layers: TLS and WebSocket lie on another channel ---- */

/**
 * qio_channel_handshake:
 * @timeout_ms: for this call; -1 = none.  The key handshake-timeout bounds all calls together
 * @interruptible: a signal ends the wait with INTR
 *
 * Does what has to come before the first byte, of the layers below too; the first transfer does
 * it otherwise.  A channel that has no such thing is done at once.  A blocking channel waits until
 * the last word of the handshake is sent; when that fails, or is not done in time, it is still
 * done, and the next transfer tells.  After INTR a call goes on where the last one was.
 * Returns: 0; 1 when a request of the peer waits for the program's answer; -1 (TIMEOUT, CANCELLED,
 * CLOSED, INTR, what the handshake failed with)
 */
int qio_channel_handshake(QIOChannel *ioc, int timeout_ms, bool interruptible, Error **errp);
/**
 * qio_channel_bye:
 *
 * Ends a layer in order: sends what is held back and the word of the end, and waits for the
 * peer's.  The channel stays to be closed.  One without a layer is done at once.
 * Returns: 0, or -1 (as qio_channel_handshake())
 */
int qio_channel_bye(QIOChannel *ioc, int timeout_ms, bool interruptible, Error **errp);
/**
 * qio_channel_handshake_task:
 * @timeout_ms: in all; -1 = none
 * @ctx ... @destroy: as qio_task_new()
 *
 * qio_channel_handshake() as an operation.  Closing the channel ends it with CANCELLED.  Any
 * thread.
 * Returns: a task, one reference to the caller
 */
QIOTask *qio_channel_handshake_task(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                                    QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);
/**
 * qio_channel_close_task:
 * @timeout_ms: in all; -1 = none
 *
 * Ends a channel in order, as an operation: the layers, from the top down, as qio_channel_bye();
 * then it closes it; then it waits for a child process, which is told to end by and by (the end
 * of its input, SIGTERM, SIGKILL), sooner when @timeout_ms is shorter than its close time.
 * Whatever comes of the task, the channel is closed.  It fails with the first failure of these;
 * TIMEOUT; CANCELLED, also when somebody else closed the channel before its layers had ended.
 * Any thread.
 * Returns: a task, one reference to the caller
 */
QIOTask *qio_channel_close_task(QIOChannel *ioc, int timeout_ms, AioContext *ctx,
                                QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);
/** qio_channel_get_transport: the channel a layer lies on, borrowed; NULL = it is no layer. */
QIOChannel *qio_channel_get_transport(QIOChannel *ioc);
/**
 * qio_channel_take_transport:
 *
 * Ends the layer in order, as qio_channel_bye(), takes it off and leaves it closed.
 * Returns: the channel below, with what nobody has read of it, for the caller to unref; or NULL
 * (NOTSUP: it is no layer; BUSY: another call uses it, or bytes of it are unread; as
 * qio_channel_bye(): then nothing has changed hands)
 */
QIOChannel *qio_channel_take_transport(QIOChannel *ioc, int timeout_ms, bool interruptible,
                                       Error **errp);

/* ---- watches ---- */

/**
 * qio_channel_create_watch:
 *
 * Returns: an unattached source that calls a QIOChannelFunc (set it with g_source_set_callback())
 * while @condition holds or the peer is gone; one reference to the caller; it holds one on the
 * channel.  NULL, with a critical warning, for a class that cannot be watched.
 */
GSource *qio_channel_create_watch(QIOChannel *ioc, GIOCondition condition);
/**
 * qio_channel_add_watch, qio_channel_add_watch_full, qio_channel_add_watch_source:
 * @notify: frees @user_data, exactly once, also on failure
 * @context: where it runs; NULL = the default one, as with the first form
 *
 * qio_channel_create_watch() with its function, attached.
 * Returns: the source's number in that context, 0 on failure; the last form: a reference on the
 * source for the caller, also when another thread has run and removed it already; NULL on failure
 */
guint qio_channel_add_watch(QIOChannel *ioc, GIOCondition condition, QIOChannelFunc func,
                            gpointer user_data, GDestroyNotify notify);
guint qio_channel_add_watch_full(QIOChannel *ioc, GIOCondition condition, QIOChannelFunc func,
                                 gpointer user_data, GDestroyNotify notify,
                                 GMainContext *context);
GSource *qio_channel_add_watch_source(QIOChannel *ioc, GIOCondition condition,
                                      QIOChannelFunc func, gpointer user_data,
                                      GDestroyNotify notify, GMainContext *context);
/**
 * qio_channel_add_aio_watch:
 * @ctx: the loop; NULL = qio_get_main_aio_context()
 * @func: NULL makes the watch queued: qio_loop_next() (loop/loop.h) reports @user_data
 * @notify: frees @user_data, exactly once, also on failure, on a clean stack
 *
 * Watches the channel in a loop: costs nothing while idle, however many there are.  Any thread.
 * Returns: a watch, one reference to the caller, or NULL (INVAL, CLOSED, NOTSUP)
 */
QIOLoopWatch *qio_channel_add_aio_watch(QIOChannel *ioc, AioContext *ctx, GIOCondition condition,
                                        QIOChannelFunc func, gpointer user_data,
                                        GDestroyNotify notify, Error **errp);

/* ---- loops, coroutines, waiting ---- */

/** qio_channel_attach_aio_context: where later qio_channel_yield() calls wait; refused with a
 * critical warning while a coroutine waits. */
void qio_channel_attach_aio_context(QIOChannel *ioc, AioContext *ctx);
/** qio_channel_detach_aio_context: removes the handlers and forgets the waiters, which their
 * owner enters again. */
void qio_channel_detach_aio_context(QIOChannel *ioc);
/** qio_channel_yield: suspends the current coroutine until @condition (exactly one of G_IO_IN,
 * G_IO_OUT) holds, or the channel is closed; several in one direction take turns. */
void qio_channel_yield(QIOChannel *ioc, GIOCondition condition);
/** qio_channel_wait: blocks the thread until a transfer in that direction would not wait.  Runs
 * no callback of anybody. */
void qio_channel_wait(QIOChannel *ioc, GIOCondition condition);
/**
 * qio_channel_wait_timeout:
 * @condition: G_IO_IN, G_IO_OUT or both
 * @timeout_ms: -1 = for ever, 0 = look
 *
 * Returns: the conditions that hold (ERR and HUP too), 0 on time-out, -1 on error: INTR (a
 * signal), CANCELLED, CLOSED, INVAL, SYSTEM
 */
int qio_channel_wait_timeout(QIOChannel *ioc, GIOCondition condition, int timeout_ms,
                             Error **errp);
/**
 * qio_channel_get_poll:
 * @out: the descriptor and conditions to poll, when the result is 0
 *
 * How a foreign loop waits for @condition (exactly one of G_IO_IN, G_IO_OUT).
 * Returns: 1 ready now, 0 poll @out, -1 (NOTSUP: no descriptor, use a loop; CLOSED)
 */
int qio_channel_get_poll(QIOChannel *ioc, GIOCondition condition, QIOPollFd *out, Error **errp);
/** qio_channel_notify: for classes without a descriptor: @condition may hold now; wakes whoever
 * waits.  Any thread. */
void qio_channel_notify(QIOChannel *ioc, GIOCondition condition);
/** qio_channel_set_aio_fd_handler: calls the handlers in @ctx while the channel is readable or
 * writable; both NULL removes. */
void qio_channel_set_aio_fd_handler(QIOChannel *ioc, AioContext *ctx, IOHandler *io_read,
                                    IOHandler *io_write, void *opaque);

G_END_DECLS
#endif
