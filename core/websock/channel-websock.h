/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/channel-websock.h: a WebSocket (RFC 6455) over any channel, as server or client.
 *
 * Owns: QIOChannelWebsock, which has one of two faces, chosen at birth (key ws-mode):
 *   stream    (the default) reads and writes are a stream of bytes, carried in binary messages
 *   messages  qio_channel_websock_send() and _recv(): text, binary, ping, pong, close
 * Rules: the handshake runs by qio_channel_handshake(), or by itself with the first transfer,
 * within the key handshake-timeout (10 s of a server, 30 s of a client).  Pings are answered by
 * whoever reads.  qio_channel_close() sends a close frame (1000) and waits for nothing;
 * qio_channel_bye() ends in order.  There is no half-close: shutting down writing begins the end.
 * What a peer makes it hold is bounded: 8 KiB of header, 16 KiB read ahead, one frame of at most
 * 64 KiB on its way out.
 *
 * The keys of the options:
 *   ws-path ws-host ws-origin     of a client: what to ask for (default "/", "localhost", none);
 *                                 ws-path of a server: the one path there is
 *   ws-protocol*                  subprotocols (of a server by default "binary"; of a client none)
 *   ws-header*                    "Name: value", to go along with the request or the answer
 *   ws-mode                       stream, messages
 *   ws-request                    on: qio_channel_handshake() of a server gives 1 and waits for
 *                                 qio_channel_websock_accept_request() or _reject_request()
 *   ws-max-message                the most bytes of one message that is received (default 16 MiB,
 *                                 1024 fragments); messages face only
 *   ws-deflate ws-max-inflated    on: permessage-deflate (RFC 7692), if the other side has it; the
 *                                 most bytes that one message may become (default 16 MiB)
 *   handshake-timeout             seconds
 */
#ifndef QIO_CHANNEL_WEBSOCK_H
#define QIO_CHANNEL_WEBSOCK_H

#include <qio/channel.h>
#include <qio/options.h>

G_BEGIN_DECLS

#define TYPE_QIO_CHANNEL_WEBSOCK "qio-channel-websock"
#define QIO_CHANNEL_WEBSOCK(obj) OBJECT_CHECK(QIOChannelWebsock, (obj), TYPE_QIO_CHANNEL_WEBSOCK)

typedef struct QIOChannelWebsock QIOChannelWebsock;

/* What a message or an event is; the values are the wire's. */
typedef enum QIOWebsockOpcode {
    QIO_WEBSOCK_TEXT = 1,
    QIO_WEBSOCK_BINARY = 2,
    QIO_WEBSOCK_CLOSE = 8,
    QIO_WEBSOCK_PING = 9,
    QIO_WEBSOCK_PONG = 10,
} QIOWebsockOpcode;

/* Flags of qio_channel_websock_send() and _recv(). */
enum {
    QIO_WEBSOCK_DONTWAIT = 1,   /* in either mode */
    QIO_WEBSOCK_PARTIAL = 2,    /* send: more of this message follows */
    QIO_WEBSOCK_PONGS = 4,      /* recv: from now on report pongs, too */
};

/** qio_channel_websock_new_server: a server's end on @master, of which it takes a reference, with
 * the defaults.  Any thread.  Returns: a channel for the caller, or NULL (see _new_options()) */
QIOChannelWebsock *qio_channel_websock_new_server(QIOChannel *master);
/** qio_channel_websock_new_client: a client's end that asks @host for @path; NULL = the defaults.
 * Returns: a channel for the caller, or NULL (see _new_options()) */
QIOChannelWebsock *qio_channel_websock_new_client(QIOChannel *master, const char *host,
                                                  const char *path, Error **errp);
/**
 * qio_channel_websock_new_options:
 * @master: what it lies on; from now on its alone, and closed with it
 * @options: the keys above; NULL = the defaults; keys of others are no concern of it
 *
 * Returns: a channel for the caller, or NULL (INVAL: a setting that cannot go into an HTTP header,
 * before a byte is sent; BUSY, CLOSED, NOTSUP: @master takes no layer)
 */
QIOChannelWebsock *qio_channel_websock_new_options(QIOChannel *master, const QIOOptions *options,
                                                   bool server, Error **errp);

/** qio_channel_websock_handshake: qio_channel_handshake() as an operation in the main loop, whose
 * deadline is the key handshake-timeout; qio_channel_handshake_task() has a context and a deadline
 * of its own.  @destroy frees @opaque. */
void qio_channel_websock_handshake(QIOChannelWebsock *ioc, QIOTaskFunc func, gpointer opaque,
                                   GDestroyNotify destroy);

/** qio_channel_websock_is_messages: whether it has the face of messages. */
bool qio_channel_websock_is_messages(QIOChannelWebsock *ioc);

/**
 * qio_channel_websock_send:
 * @opcode: QIO_WEBSOCK_TEXT, _BINARY
 * @flags: QIO_WEBSOCK_DONTWAIT, _PARTIAL
 *
 * Sends a message, or a part of one.  Obeys the blocking mode; a blocking channel returns when all
 * is accepted.  When less was accepted the message goes on: the next call brings the rest.
 * Returns: bytes accepted (0 for an empty message), -1 (INVAL: also text that is not UTF-8; NOTSUP:
 * it has the other face; SYSTEM with EPIPE: it is closed; PROTOCOL; TIMEOUT and others with the
 * bytes that were accepted), QIO_CHANNEL_ERR_BLOCK
 */
ssize_t qio_channel_websock_send(QIOChannelWebsock *ioc, const void *buf, size_t len, int opcode,
                                 unsigned flags, Error **errp);
/**
 * qio_channel_websock_recv:
 * @len: at least 1
 * @flags: QIO_WEBSOCK_DONTWAIT, _PONGS
 * @opcode: what it is of (may be NULL): text, binary, a pong, or the close frame
 * @fin: whether this was the last of it; if not, the next call gives more
 *
 * Takes what has come of a message.  Obeys the blocking mode, but waits for nothing once there is
 * a byte.  The close frame is given once, with its payload (two bytes of code and the reason, or
 * nothing).  After it a clean end (1000, 1001, no code) is 0 with the opcode CLOSE.
 * Returns: bytes stored, 0 also for an empty message; -1 (PROTOCOL, domain WEBSOCKET, number the
 * close code: the other side closed with another code, or one side broke the rules, 1006 it went
 * away without a word; others as a read), QIO_CHANNEL_ERR_BLOCK
 */
ssize_t qio_channel_websock_recv(QIOChannelWebsock *ioc, void *buf, size_t len, unsigned flags,
                                 int *opcode, bool *fin, Error **errp);
/** qio_channel_websock_ping: sends a ping of at most 125 bytes.  Obeys the blocking mode.
 * Returns: 0, -1, QIO_CHANNEL_ERR_BLOCK */
int qio_channel_websock_ping(QIOChannelWebsock *ioc, const void *buf, size_t len, Error **errp);
/**
 * qio_channel_websock_close_code:
 * @code: 1000-1003, 1007-1014, 3000-4999; 0 = a close frame without code or reason
 * @reason: at most 123 bytes of UTF-8, or NULL
 *
 * Begins the close handshake: the frame goes out behind what was accepted, nothing after it.  Never
 * waits; qio_channel_bye() does, for the other side's.  A second call is 0 and does nothing.
 * Returns: 0, or -1 (INVAL, CLOSED, what ended it before)
 */
int qio_channel_websock_close_code(QIOChannelWebsock *ioc, unsigned code, const char *reason,
                                   Error **errp);

/**
 * qio_channel_websock_get_request:
 * @key: "path" (with the query), "protocols" (what the client offers), "origin", "protocol" (what
 *   was chosen), or the name of a header field; of a client the fields are those of the answer;
 *   "mode" (also before and without a handshake): "stream" or "messages"
 *
 * Gives a text of the handshake, cut to @cap with a final NUL.
 * Returns: its length without the NUL, also when it was cut; -1 (INVAL: there is none; AGAIN: the
 * handshake has not come so far)
 */
ssize_t qio_channel_websock_get_request(QIOChannelWebsock *ioc, const char *key, char *buf,
                                        size_t cap, Error **errp);
/** qio_channel_websock_accept_request: lets the client in, with @protocol, which it has to have
 * offered; NULL = the first offered one that ws-protocol has, or none; "" = none.  The handshake
 * goes on by qio_channel_handshake().  Returns: 0, or -1 (INVAL: also when no request waits) */
int qio_channel_websock_accept_request(QIOChannelWebsock *ioc, const char *protocol,
                                       Error **errp);
/** qio_channel_websock_reject_request: turns the client away with a status of 300 to 599 and
 * @reason as text (NULL = the usual one).  The handshake goes on, to end with an error.
 * Returns: 0, or -1 (INVAL) */
int qio_channel_websock_reject_request(QIOChannelWebsock *ioc, unsigned http_status,
                                       const char *reason, Error **errp);

G_END_DECLS
#endif
