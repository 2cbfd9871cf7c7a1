/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/uri.h: every channel and listener by a string.
 *
 * Owns: the grammar (SURFACE: tcp://host:port, unix:/path, abstract:name, fd:N,
 * file:/path?mode=r|w|rw|a, exec:prog?arg=..&arg=.., null:, buffer:) and what each scheme opens.
 * Rules: strict; an error names the place of the fault in the URI; a key given twice that is
 * not a list, or unknown, is an error with the nearest known one; what the caller's options do
 * not allow is not opened (a URI often comes from a configuration file).
 */
#ifndef QIO_URI_H
#define QIO_URI_H

#include <qio/address.h>
#include <qio/channel.h>
#include <qio/options.h>

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

/**
 * QIOUri:
 * @address: for the socket schemes and fd:, else NULL
 * @path: file: the path; exec: the program; percent-decoded
 * @options: the keys of the query
 */
typedef struct QIOUri {
    QIOScheme scheme;
    QIOAddress *address;
    char *path;
    QIOOptions *options;
} QIOUri;

/** qio_uri_parse: reads a URI.  Returns: NULL with INVAL naming the place */
QIOUri *qio_uri_parse(const char *text, Error **errp);
/** qio_uri_format: the text again, for the caller to g_free(); parsing it gives an equal URI. */
char *qio_uri_format(const QIOUri *uri);
void qio_uri_free(QIOUri *uri);

/**
 * qio_channel_open_uri:
 * @options: keys on top of the URI's, which win over it; "allow" only counts here; or NULL
 * @interruptible: a signal ends the wait with INTR, else it goes on
 *
 * Opens and connects, within the time-out (key "timeout", 30 s by default).
 * Returns: a channel, or NULL with an error
 */
QIOChannel *qio_channel_open_uri(const char *uri, const QIOOptions *options, bool interruptible,
                                 Error **errp);

G_END_DECLS
#endif
