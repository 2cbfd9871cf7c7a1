/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/http.h: the heads of HTTP/1.1 requests and responses, as a WebSocket begins with them.
 *
 * Owns: QIOHttpScan, how far a head has come; QIOHttpHead, one that is whole, taken apart.
 * Rules: strict (RFC 9112 without its leniences: no bare LF, no folding, no NUL, no space before a
 * colon), linear, at most 8 KiB and 64 fields.  Each byte is judged when it comes.  Pure.
 */
#ifndef QIO_WEBSOCK_HTTP_H
#define QIO_WEBSOCK_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    QIO_HTTP_HEAD_MAX = 8192,
    QIO_HTTP_FIELDS_MAX = 64,
};

/* Zero-filled = nothing has come. */
typedef struct QIOHttpScan {
    size_t scanned;
    size_t line_length;     /* of the line so far */
    unsigned lines;         /* that were whole */
    bool after_cr;
    unsigned status;        /* what a server answers to a bad head: 400, 431 */
    const char *problem;
} QIOHttpScan;

/*
 * Looks at what has come since the last call.
 * @bytes, @len: all of the head so far
 * Returns: the length of the head, blank line included, when it is whole; 0 when more has to come;
 * -1: `problem` and `status` are set
 */
ssize_t qio_http_scan(QIOHttpScan *scan, const char *bytes, size_t len);

typedef struct QIOHttpField {
    const char *name;
    const char *value;      /* without spaces and tabs around it */
} QIOHttpField;

typedef struct QIOHttpHead {
    char *text;             /* what the others point into */
    const char *method;     /* of a request */
    const char *target;     /* a path, or what is none of these and refused */
    const char *authority;  /* of an absolute target, which counts instead of Host; or NULL */
    const char *reason;     /* of a response */
    unsigned status;
    unsigned nfields;
    QIOHttpField fields[QIO_HTTP_FIELDS_MAX];
} QIOHttpHead;

/*
 * Takes a whole head apart; @len is what qio_http_scan() gave.
 * Returns: the head, for qio_http_head_free(); NULL: *status (400, 505; 500 = no memory) and
 * *problem
 */
QIOHttpHead *qio_http_parse_request(const char *bytes, size_t len, unsigned *status,
                                    const char **problem);
QIOHttpHead *qio_http_parse_response(const char *bytes, size_t len, unsigned *status,
                                     const char **problem);
void qio_http_head_free(QIOHttpHead *head);

/* The first field of that name (in either case), NULL = none; *count (may be NULL): how many. */
const char *qio_http_get(const QIOHttpHead *head, const char *name, unsigned *count);
/* All of them as one list, for the caller to free; NULL = none. */
char *qio_http_get_all(const QIOHttpHead *head, const char *name);
/* Whether a list in the fields of that name has the token, in either case. */
bool qio_http_has_token(const QIOHttpHead *head, const char *name, const char *token);
/* The next item of a list, spaces off: false at its end. */
bool qio_http_next_item(const char **list, const char **item, size_t *len);
bool qio_http_is_token(const char *text, size_t len);

#endif
