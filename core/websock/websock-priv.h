/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/websock-priv.h: what the files of the WebSocket share.
 *
 * Owns: struct QIOChannelWebsock.  Rules: one lock, held around work that never waits; every
 * function below wants it held unless it says otherwise.  A lock that this very thread holds
 * (a channel below, written in a script, that calls its own layer) is BUSY, not a deadlock.  What
 * is due of control frames is sent by whoever leaves.
 */
#ifndef QIO_WEBSOCK_PRIV_H
#define QIO_WEBSOCK_PRIV_H

#include <qio/channel-websock.h>
#include "channel/layer.h"
#include "websock/deflate.h"
#include "websock/frame.h"
#include "websock/http.h"
#include "websock/utf8.h"

enum {
    QIO_WS_INPUT_SIZE = 16 * 1024,          /* read at once, and held at most */
    QIO_WS_FILLS_MAX = 64,                  /* reads that one try makes for want of payload */
    QIO_WS_DROPS_MAX = 1024,                /* pieces of 4 KiB that one try drops */
    QIO_WS_FRAME_MAX = 64 * 1024,           /* payload that one frame takes on its way out */
    QIO_WS_FRAGMENTS_MAX = 1024,
    QIO_WS_MESSAGE_MAX = 16 * 1024 * 1024,
    QIO_WS_RANDOM_SIZE = 256,               /* the keys of 64 frames */
};

/* The codes of closing that are said here. */
enum {
    QIO_WS_CLOSE_NORMAL = 1000,
    QIO_WS_CLOSE_AWAY = 1001,
    QIO_WS_CLOSE_PROTOCOL = 1002,
    QIO_WS_CLOSE_UNSUPPORTED = 1003,
    QIO_WS_CLOSE_NO_CODE = 1005,            /* never on the wire */
    QIO_WS_CLOSE_GONE = 1006,               /* never on the wire */
    QIO_WS_CLOSE_INVALID = 1007,
    QIO_WS_CLOSE_TOO_BIG = 1009,
};

typedef enum QIOWsPhase {
    QIO_WS_START,           /* nothing has been read or written */
    QIO_WS_READING,         /* a head, of a request or a response */
    QIO_WS_ASKING,          /* the program has to accept or reject */
    QIO_WS_WRITING,         /* a head that lets in: or, of a client, asks */
    QIO_WS_REFUSING,        /* an answer that turns away, then `failure` */
    QIO_WS_OPEN,
} QIOWsPhase;

/* What was asked for at birth; checked then. */
typedef struct QIOWsSettings {
    char *path, *host, *origin;
    char **protocols;       /* NULL-terminated, or NULL */
    char *headers;          /* whole lines with CR LF, or empty */
    bool ask;
    bool deflate;
    uint64_t max_message, max_inflated;
    int timeout_ms;
} QIOWsSettings;

/* What has come and not been handed out. */
typedef struct QIOWsInput {
    uint8_t *buf;
    size_t start, end;
    QIOHttpScan scan;
    QIOWsDecoder decoder;
    bool in_frame;          /* its header is there, its payload not all */
    bool compressed;        /* the message is */
    bool ended;             /* the message's last byte is handed out, its end not */
    bool tail_fed;          /* to the decompressor */
    bool closed;            /* a close frame has come */
    bool shut;              /* reading was shut down */
    bool want_pongs;
    uint8_t opcode;         /* of the message */
    uint8_t event;          /* opcode of a control frame that is to be reported, 0 = none */
    uint8_t control_len, control_at;
    unsigned fills;         /* reads of this try */
    bool filled;            /* since the lock was taken, into `buf` */
    unsigned fragments;
    uint64_t left, done;    /* of the frame's payload */
    uint64_t message_len;
    QIOWsUtf8 utf8;
    uint8_t control[QIO_WS_CONTROL_MAX];
} QIOWsInput;

/* What has been accepted and not gone out. */
typedef struct QIOWsOutput {
    uint8_t *buf;           /* the rest of one frame, or a head */
    size_t cap, start, end;
    bool in_message;        /* the next data frame goes on with one */
    bool closed;            /* the last frame is a close frame, sent or due */
    bool pong_due, close_due;
    uint8_t opcode;         /* of the message */
    uint8_t pong_len, close_len;
    QIOWsUtf8 utf8;
    uint8_t pong[QIO_WS_CONTROL_MAX];
    uint8_t close[QIO_WS_CONTROL_MAX];
    Error *failure;         /* of the transport */
    uint32_t random_epoch;  /* of the process that the random bytes are of */
    unsigned random_left;
    uint8_t random[QIO_WS_RANDOM_SIZE];
} QIOWsOutput;

struct QIOChannelWebsock {
    QIOChannel parent;
    QIOLayerLock lock;
    bool server, messages;
    bool kick;              /* who leaves makes all who wait look again */
    int out_was;            /* what leaving found of the outgoing side the last time */
    QIOWsPhase phase;
    Error *failure;         /* what every transfer gives from now on */
    Error *refusal;         /* that, once the answer that turns away is out */
    QIOWsSettings settings;
    QIOHttpHead *head;      /* what the other side said in the handshake */
    char *key;              /* of a client's request */
    char *protocol;         /* that was chosen */
    QIOWsDeflateTerms terms;
    bool agreed_deflate;
    QIOWsDeflate *deflate;
    int64_t deadline_ns;    /* of the handshake, 0 = not begun */
    int timer_fd;           /* readable when that has passed; -1 = none */
    QIOWsInput in;
    QIOWsOutput out;
};

/* ---- channel-websock.c ---- */

/* Takes the lock.  Returns: 0; -1: BUSY; QIO_CHANNEL_ERR_BLOCK while the holder calls a function of
 * the program, unless patient, see layer-lock.h. */
int qio_ws_enter(QIOChannelWebsock *ws, bool patient, Error **errp);
/* Sends what is due and lets go of the lock. */
void qio_ws_leave(QIOChannelWebsock *ws);
/* Enters for a transfer: with the handshake done.  Returns: 0 and the lock is held; -1 or
 * QIO_CHANNEL_ERR_BLOCK and it is not. */
int qio_ws_enter_open(QIOChannelWebsock *ws, Error **errp);
/* Whether everything has failed; then with that error. */
bool qio_ws_failed(QIOChannelWebsock *ws, Error **errp);
/* Ends the connection for a reason that a close frame tells: both sides. */
void qio_ws_fail(QIOChannelWebsock *ws, unsigned code, const char *problem);
/* Ends it with an error, which it takes. */
void qio_ws_fail_with(QIOChannelWebsock *ws, Error *err);

/* ---- settings.c ---- */

int qio_ws_settings_take(QIOWsSettings *settings, const QIOOptions *options, bool server,
                         Error **errp);
void qio_ws_settings_free(QIOWsSettings *settings);

/* ---- handshake.c ---- */

/* One step.  Returns: 0 done, 1 a request waits, -1, QIO_CHANNEL_ERR_BLOCK */
int qio_ws_handshake_step(QIOChannelWebsock *ws, Error **errp);
/* What the step waits for. */
int qio_ws_handshake_poll(QIOChannelWebsock *ws, QIOPollFd *out, int cap);
/* The value of Sec-WebSocket-Accept for a key, for the caller to free. */
char *qio_ws_accept_value(const char *key);
void qio_ws_stop_timer(QIOChannelWebsock *ws);
/* It is over: both sides speak frames. */
int qio_ws_handshake_done(QIOChannelWebsock *ws, Error **errp);

/* ---- handshake-server.c, handshake-client.c ---- */

/* A head that qio_http_scan() found whole, or refused (length -1): queues the answer. */
void qio_ws_server_answer(QIOChannelWebsock *ws, const char *bytes, ssize_t length);
int qio_ws_client_ask(QIOChannelWebsock *ws, Error **errp);
/* Judges the response.  Returns: 0, or -1 */
int qio_ws_client_judge(QIOChannelWebsock *ws, const char *bytes, ssize_t length, Error **errp);

/* ---- output.c ---- */

/* Random bytes of the kernel, never of another process.  Returns: 0, or -1 */
int qio_ws_random(QIOChannelWebsock *ws, void *bytes, size_t len, Error **errp);
/* Pushes what is queued and due.  Returns: 0 all is gone, -1, QIO_CHANNEL_ERR_BLOCK */
int qio_ws_flush(QIOChannelWebsock *ws, Error **errp);
/* Whether something is queued or due. */
static inline bool qio_ws_pending(const QIOChannelWebsock *ws)
{
    return ws->out.start < ws->out.end || ws->out.pong_due || ws->out.close_due;
}
/* Queues bytes as they are (a head), on an empty queue.  Returns: 0, or -1 (NOMEM) */
int qio_ws_queue(QIOChannelWebsock *ws, const void *bytes, size_t len, Error **errp);
/*
 * Sends one frame on an empty queue, what does not go out now is queued.
 * @header: opcode, fin and rsv1; @len bytes of payload are those of @iov
 * Returns: 0, or -1
 */
int qio_ws_put_frame(QIOChannelWebsock *ws, QIOWsHeader *header, const struct iovec *iov,
                     size_t niov, size_t len, Error **errp);
/* Room for that much behind what is queued.  Returns false without memory. */
bool qio_ws_reserve(QIOWsOutput *out, size_t len);
void qio_ws_due_pong(QIOChannelWebsock *ws, const void *bytes, size_t len);
/* code 0: an empty one. */
void qio_ws_due_close(QIOChannelWebsock *ws, unsigned code, const char *reason, size_t len);
/* Whether a data frame can be sent now.  Returns: 0, -1, QIO_CHANNEL_ERR_BLOCK */
int qio_ws_check_writable(QIOChannelWebsock *ws, Error **errp);
/*
 * Sends as much of the bytes as one frame takes, as a message or a part of one.
 * @more: the message goes on after them
 * Returns: bytes taken, -1, QIO_CHANNEL_ERR_BLOCK
 */
ssize_t qio_ws_put_message(QIOChannelWebsock *ws, const struct iovec *iov, size_t niov,
                           uint8_t opcode, bool more, Error **errp);

/* ---- input.c ---- */

/* Moves bytes from the transport and says whether there is something to take. */
bool qio_ws_input_ready(QIOChannelWebsock *ws);
/*
 * Takes what has come: of a message's payload, or of a control frame that is reported.
 * @opcode, @fin: what it is of, and whether that ends with it
 * Returns: bytes; 0 with CLOSE: the clean end; -1; QIO_CHANNEL_ERR_BLOCK
 */
ssize_t qio_ws_take(QIOChannelWebsock *ws, uint8_t *buf, size_t len, int *opcode, bool *fin,
                    Error **errp);
/* Reads and drops what comes before the other side's close frame, a share of it at a time.
 * Returns: 0 it has come, or reading was shut down; -1; QIO_CHANNEL_ERR_BLOCK */
int qio_ws_drop_input(QIOChannelWebsock *ws, Error **errp);
/* Reads from the transport into the empty input buffer, and before that into `iov` if there is
 * one.  Returns: > 0, 0 at the end, -1, QIO_CHANNEL_ERR_BLOCK */
ssize_t qio_ws_fill(QIOChannelWebsock *ws, const struct iovec *direct, Error **errp);

/* ---- stream.c ---- */

ssize_t qio_ws_stream_readv(QIOChannel *ioc, const struct iovec *iov, size_t niov, int **fds,
                            size_t *nfds, Error **errp);
ssize_t qio_ws_stream_writev(QIOChannel *ioc, const struct iovec *iov, size_t niov, int *fds,
                             size_t nfds, Error **errp);

/* ---- message.c, for who waits as a flag says (QIO_IO_INTERRUPTIBLE) ---- */

ssize_t qio_ws_send_flags(QIOChannelWebsock *ws, const void *buf, size_t len, int opcode,
                          unsigned flags, unsigned io_flags, Error **errp);
ssize_t qio_ws_recv_flags(QIOChannelWebsock *ws, void *buf, size_t len, unsigned flags,
                          unsigned io_flags, int *opcode, bool *fin, Error **errp);
int qio_ws_ping_flags(QIOChannelWebsock *ws, const void *buf, size_t len, unsigned io_flags,
                      Error **errp);

#endif
