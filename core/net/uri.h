/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/uri.h: every channel and listener by a string.
 *
 * Owns: the grammar (tcp://host:port, unix:/path, abstract:name, vsock://cid:port, fd:N,
 * file:/path?mode=r|w|rw|a, exec:prog?arg=..&arg=.., null:, buffer:, and over any of these layers,
 * from the outside in: tls+, ws+; ws://host:port/path is ws+tcp:// with the key ws-path, wss:// is
 * ws+tls+tcp://) and what each scheme opens.
 * Rules: strict; an error names the place of the fault in the URI, counted in bytes from 0; a
 * key given twice that is not a list, unknown (the nearest known one is named) or without use
 * for the scheme is an error; what the caller's options do not allow is not opened (a URI often
 * comes from a configuration file).  Any thread.
 */
#ifndef QIO_URI_H
#define QIO_URI_H

#include <qio/address.h>
#include <qio/channel.h>
#include <qio/options.h>
#include <qio/task.h>
#include <qio/tls-creds.h>

G_BEGIN_DECLS

typedef enum QIOScheme {
    QIO_SCHEME_TCP,
    QIO_SCHEME_UNIX,
    QIO_SCHEME_ABSTRACT,
    QIO_SCHEME_VSOCK,
    QIO_SCHEME_FD,
    QIO_SCHEME_FILE,
    QIO_SCHEME_EXEC,
    QIO_SCHEME_NULL,
    QIO_SCHEME_BUFFER,
} QIOScheme;

typedef enum QIOLayer {
    QIO_LAYER_TLS,
    QIO_LAYER_WS,
} QIOLayer;

/* How many layers one URI may put on top of each other. */
#define QIO_LAYERS_MAX 8

/**
 * QIOUri:
 * @layers: the @layer_count layers above the scheme, from the outside in
 * @address: for the socket schemes and fd:, else NULL
 * @path: file: the path; exec: the program; percent-decoded
 * @options: the keys of the query
 */
typedef struct QIOUri {
    unsigned layer_count;
    QIOLayer layers[QIO_LAYERS_MAX];
    QIOScheme scheme;
    QIOAddress *address;
    char *path;
    QIOOptions *options;
} QIOUri;

/** qio_uri_parse: reads a URI, opens nothing.  Returns: the URI for the caller to
 * qio_uri_free(), or NULL with INVAL naming the place */
QIOUri *qio_uri_parse(const char *text, Error **errp);
/** qio_uri_format: the text again, for the caller to g_free(); parsing it gives an equal URI.
 * Options that have no form in a URI are left out. */
char *qio_uri_format(const QIOUri *uri);
/** qio_uri_free: frees a URI and what it holds; NULL is allowed. */
void qio_uri_free(QIOUri *uri);

/** qio_options_set_creds: sets the key tls-creds to a reference on credentials, which all TLS
 * layers of a URI then use in the place of what its own keys say.  Returns: 0, or -1 (INVAL) */
int qio_options_set_creds(QIOOptions *options, QIOTlsCreds *creds, Error **errp);

/**
 * qio_channel_open_uri:
 * @options: keys on top of the URI's, which win over it; "allow" only counts here; or NULL
 * @interruptible: a signal ends the wait with INTR, else it goes on
 *
 * Opens and connects, layers and their handshakes included, within the time-out (key "timeout",
 * 30 s by default).  A host name is looked up, and its addresses race (RFC 8305); a TLS layer
 * expects a certificate of the URI's host, unless the key tls-hostname names another.  Takes the
 * descriptor of fd:N (or fd:NAME, what a service manager passed under that name) on success only;
 * with layers it is closed when they fail.
 * Returns: a channel, or NULL: INVAL (the URI or an option), SYSTEM (the system refused; EACCES
 * when "allow" does not name what the URI opens), RESOLVE, TIMEOUT, INTR, and what a handshake
 * fails with
 */
QIOChannel *qio_channel_open_uri(const char *uri, const QIOOptions *options, bool interruptible,
                                 Error **errp);

/**
 * qio_channel_open_uri_task:
 * @options: as above
 * @ctx ... @destroy: as qio_task_new()
 *
 * The same as an operation in a loop, which nothing holds up: names are looked up in threads of the
 * resolver's, and the other end of a pipe is not waited for (a fifo without a writer is at its end,
 * one without a reader cannot be opened).  The deadline (key "timeout", 30 s) is one for all.
 * Returns: a task, one reference to the caller; qio_task_take_result() is the channel
 */
QIOTask *qio_channel_open_uri_task(const char *uri, const QIOOptions *options, AioContext *ctx,
                                   QIOTaskFunc func, gpointer opaque, GDestroyNotify destroy);

G_END_DECLS
#endif
