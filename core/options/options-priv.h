/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options/options-priv.h: the register of keys, for who checks settings before using them.
 *
 * Owns: the shape of a key, the uses that keys are for, and comparing and merging sets.
 * Rule: a use is a scheme of a URI or a layer above it; the numbers of the schemes are those of
 * QIOScheme (core/net/uri.c holds them to it).  Any thread.
 */
#ifndef QIO_OPTIONS_PRIV_H
#define QIO_OPTIONS_PRIV_H

#include <qio/options.h>

/* What a key may be for; each is a bit in QIOOptionKey.uses. */
typedef enum QIOOptionFor {
    QIO_FOR_TCP,
    QIO_FOR_UNIX,
    QIO_FOR_ABSTRACT,
    QIO_FOR_VSOCK,
    QIO_FOR_FD,
    QIO_FOR_FILE,
    QIO_FOR_EXEC,
    QIO_FOR_NULL,
    QIO_FOR_BUFFER,
    QIO_FOR_TLS = 24,           /* a TLS channel */
    QIO_FOR_CREDS,              /* its credentials */
    QIO_FOR_WS,
    QIO_FOR_RELAY,              /* no part of a URI */
} QIOOptionFor;

#define QIO_FOR_BIT(use) (1u << (use))

typedef enum QIOOptionType {
    QIO_OPTION_TEXT,
    QIO_OPTION_SWITCH,          /* on, off */
    QIO_OPTION_NUMBER,          /* min to max */
    QIO_OPTION_OCTAL,           /* min to max */
    QIO_OPTION_SECONDS,         /* decimal, at most max; none, off */
    QIO_OPTION_CHOICE,          /* one of choices */
    QIO_OPTION_CHOICES,         /* several of choices, separated by commas */
    QIO_OPTION_VARIABLE,        /* NAME=value; empty = no variable at all */
    QIO_OPTION_PATH,            /* the name of a file or directory */
    QIO_OPTION_MATERIAL,        /* the name of a file, or as bytes what would be in it */
    QIO_OPTION_SECRET,          /* bytes only */
    QIO_OPTION_OBJECT,          /* a reference */
} QIOOptionType;

/*
 * One key.
 * list: may be given several times
 * in_uri: whether a URI may carry it; "allow" is the caller's alone
 * uses: bits QIO_FOR_BIT(QIO_FOR_...) of the schemes and layers that have a use for it
 */
typedef struct QIOOptionKey {
    const char *name;
    QIOOptionType type;
    bool list;
    bool in_uri;
    uint32_t uses;
    int64_t min, max;
    const char *const *choices;
} QIOOptionKey;

/* ---- option-keys.c ---- */

/* The register, in alphabetical order. */
const QIOOptionKey *qio_options_known_keys(size_t *count);
/* The key of that name, or NULL with INVAL, which names the nearest one. */
const QIOOptionKey *qio_option_key_find(const char *name, Error **errp);
/* Whether the text is what the key takes; INVAL says what would be right. */
bool qio_option_key_check(const QIOOptionKey *key, const char *value, Error **errp);
/* Whether text given for the key names a file. */
bool qio_option_key_names_file(const QIOOptionKey *key);
/* A time in seconds as milliseconds, a part of one counting whole; -1 = none; -2 = no such. */
int qio_option_parse_ms(const char *value);
/* The one of names (NULL-terminated, not empty) that takes the fewest edits to become text. */
const char *qio_nearest_name(const char *text, const char *const *names);

/* ---- options.c ---- */

/* Whether every key that is set has one of the uses; INVAL names the key and `what`, which is
 * what the uses are together ("tls+tcp:"). */
bool qio_options_check_uses(const QIOOptions *options, uint32_t uses, const char *what,
                            Error **errp);
/* The first key whose value names a file, or NULL. */
const char *qio_options_find_file(const QIOOptions *options);
/* Puts what `over` has in the place of what `options` has. */
void qio_options_override(QIOOptions *options, const QIOOptions *over);
/* A key of the type OBJECT: refers to `object` by ref() for every copy of the set, and lets go
 * by unref().  Returns: 0, or -1 (INVAL) */
int qio_options_set_object(QIOOptions *options, const char *key, gpointer object,
                           gpointer (*ref)(gpointer), void (*unref)(gpointer), Error **errp);
/* The object of the key, borrowed, or NULL. */
gpointer qio_options_get_object(const QIOOptions *options, const char *key);

#endif
