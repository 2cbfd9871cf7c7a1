/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options/options.c: named settings for opening things.
 *
 * Owns: QIOOptions: for each key of the register a list of values as text, in the order they
 * were given, or one value as bytes, or a reference.  A value is checked when it is set, so what is
 * read back is known to be good; the getters never fail.
 * Rules: one thread at a time; constant ones may be shared.  Bytes, which may be a secret, are
 * wiped before their memory is given back.
 */
#include "options/options-priv.h"

#include <stdlib.h>
#include <string.h>

/* More than any certificates, and far from what an addition could wrap. */
#define BYTES_MAX (16 << 20)

typedef struct QIOOptionValues {
    char **values;              /* NULL-terminated once there is one */
    size_t count;               /* 1 for bytes and objects too */
    void *bytes;                /* not text: a final NUL is not counted */
    size_t len;
    gpointer object;
    gpointer (*ref)(gpointer);
    void (*unref)(gpointer);
} QIOOptionValues;

struct QIOOptions {
    size_t count;               /* of keys in the register */
    QIOOptionValues of[];
};

static size_t key_index(const QIOOptionKey *key)
{
    size_t count;

    return (size_t)(key - qio_options_known_keys(&count));
}

QIOOptions *qio_options_new(void)
{
    QIOOptions *options;
    size_t count;

    qio_options_known_keys(&count);
    options = g_malloc0(sizeof(*options) + count * sizeof(options->of[0]));
    options->count = count;
    return options;
}

static void clear_values(QIOOptionValues *list)
{
    if (list->bytes != NULL) {
        explicit_bzero(list->bytes, list->len);
        g_free(list->bytes);
    }
    if (list->object != NULL) {
        list->unref(list->object);
    }
    g_strfreev(list->values);
    *list = (QIOOptionValues){ .count = 0 };
}

static void set_bytes_value(QIOOptionValues *list, const void *buf, size_t len)
{
    char *copy = g_malloc(len + 1);     /* before the old ones go: they may be the old ones */

    memcpy(copy, len > 0 ? buf : "", len);
    copy[len] = '\0';
    clear_values(list);
    *list = (QIOOptionValues){ .count = 1, .bytes = copy, .len = len };
}

static void copy_values(QIOOptionValues *list, const QIOOptionValues *from)
{
    clear_values(list);
    if (from->bytes != NULL) {
        set_bytes_value(list, from->bytes, from->len);
        return;
    }
    *list = *from;
    list->values = g_strdupv(from->values);
    if (from->object != NULL) {
        list->object = from->ref(from->object);
    }
}

static void append_value(QIOOptionValues *list, char *value)
{
    list->values = g_renew(char *, list->values, list->count + 2);
    list->values[list->count++] = value;
    list->values[list->count] = NULL;
}

void qio_options_override(QIOOptions *options, const QIOOptions *over)
{
    for (size_t i = 0; i < over->count; i++) {
        if (over->of[i].count > 0) {
            copy_values(&options->of[i], &over->of[i]);
        }
    }
}

QIOOptions *qio_options_copy(const QIOOptions *options)
{
    QIOOptions *copy = qio_options_new();

    if (options != NULL) {
        qio_options_override(copy, options);
    }
    return copy;
}

void qio_options_free(QIOOptions *options)
{
    if (options == NULL) {
        return;
    }
    for (size_t i = 0; i < options->count; i++) {
        clear_values(&options->of[i]);
    }
    g_free(options);
}

/* The list behind a key that is about to change, after the value has been checked. */
static QIOOptionValues *checked_values(QIOOptions *options, const char *name, const char *value,
                                       const QIOOptionKey **key, Error **errp)
{
    if (options == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the options are NULL");
        return NULL;
    }
    *key = qio_option_key_find(name, errp);
    if (*key == NULL || !qio_option_key_check(*key, value, errp)) {
        return NULL;
    }
    return &options->of[key_index(*key)];
}

int qio_options_set_str(QIOOptions *options, const char *key, const char *value, Error **errp)
{
    const QIOOptionKey *known;
    QIOOptionValues *list = checked_values(options, key, value, &known, errp);
    char *copy;

    if (list == NULL) {
        return -1;
    }
    copy = g_strdup(value);     /* before the old one goes: it may be the old one */
    clear_values(list);
    append_value(list, copy);
    return 0;
}

int qio_options_add_str(QIOOptions *options, const char *key, const char *value, Error **errp)
{
    const QIOOptionKey *known;
    QIOOptionValues *list = checked_values(options, key, value, &known, errp);

    if (list == NULL) {
        return -1;
    }
    if (list->count > 0 && !known->list) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" is given twice and takes one value",
                      known->name);
        return -1;
    }
    append_value(list, g_strdup(value));
    return 0;
}

int qio_options_set_int(QIOOptions *options, const char *key, int64_t value, Error **errp)
{
    const QIOOptionKey *known = qio_option_key_find(key, errp);
    char text[32];

    if (known == NULL) {
        return -1;
    }
    switch (known->type) {
    case QIO_OPTION_NUMBER:
    case QIO_OPTION_SECONDS:
        g_snprintf(text, sizeof(text), "%" G_GINT64_FORMAT, (gint64)value);
        break;
    case QIO_OPTION_OCTAL:
        if (value < 0) {
            g_snprintf(text, sizeof(text), "%" G_GINT64_FORMAT, (gint64)value);
        } else {
            g_snprintf(text, sizeof(text), "%" G_GINT64_MODIFIER "o", (gint64)value);
        }
        break;
    case QIO_OPTION_SWITCH:
        if (value == 0 || value == 1) {
            return qio_options_set_str(options, key, value ? "on" : "off", errp);
        }
        g_snprintf(text, sizeof(text), "%" G_GINT64_FORMAT, (gint64)value);
        break;
    case QIO_OPTION_SECRET:
    case QIO_OPTION_OBJECT:
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes %s, not a number",
                      known->name, known->type == QIO_OPTION_SECRET ? "bytes" : "an object");
        return -1;
    default:
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes text, not a number",
                      known->name);
        return -1;
    }
    return qio_options_set_str(options, key, text, errp);
}

/* Bytes for a key that takes text. */
static int set_text(QIOOptions *options, const char *key, const void *buf, size_t len,
                    Error **errp)
{
    char *text;
    int ret;

    if (len > 0 && memchr(buf, '\0', len) != NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes text without NUL bytes", key);
        return -1;
    }
    text = g_strndup(len > 0 ? buf : "", len);
    ret = qio_options_set_str(options, key, text, errp);
    g_free(text);
    return ret;
}

int qio_options_set_bytes(QIOOptions *options, const char *key, const void *buf, size_t len,
                          Error **errp)
{
    const QIOOptionKey *known;

    if (options == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the options are NULL");
        return -1;
    }
    if (buf == NULL && len > 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the bytes are NULL, and their length is %zu", len);
        return -1;
    }
    known = qio_option_key_find(key, errp);
    if (known == NULL) {
        return -1;
    }
    if (len > BYTES_MAX) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes at most %d bytes, not %zu", key,
                      BYTES_MAX, len);
        return -1;
    }
    if (known->type != QIO_OPTION_MATERIAL && known->type != QIO_OPTION_SECRET) {
        return set_text(options, key, buf, len, errp);
    }
    set_bytes_value(&options->of[key_index(known)], buf, len);
    return 0;
}

int qio_options_set_object(QIOOptions *options, const char *key, gpointer object,
                           gpointer (*ref)(gpointer), void (*unref)(gpointer), Error **errp)
{
    const QIOOptionKey *known;
    QIOOptionValues *list;

    if (options == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the options are NULL");
        return -1;
    }
    known = qio_option_key_find(key, errp);
    if (known == NULL) {
        return -1;
    }
    if (known->type != QIO_OPTION_OBJECT || object == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes %s", key,
                      object == NULL ? "an object, not NULL" : "no object");
        return -1;
    }
    list = &options->of[key_index(known)];
    ref(object);                /* before the old one goes: it may be the old one */
    clear_values(list);
    *list = (QIOOptionValues){ .count = 1, .object = object, .ref = ref, .unref = unref };
    return 0;
}

/* The values of a key; NULL when it is not set or unknown. */
static const QIOOptionValues *find_values(const QIOOptions *options, const char *name)
{
    const QIOOptionKey *key;

    if (options == NULL) {
        return NULL;
    }
    key = qio_option_key_find(name, NULL);
    if (key == NULL || options->of[key_index(key)].count == 0) {
        return NULL;
    }
    return &options->of[key_index(key)];
}

bool qio_options_has(const QIOOptions *options, const char *key)
{
    return find_values(options, key) != NULL;
}

const char *qio_options_get_str(const QIOOptions *options, const char *key, const char *fallback)
{
    const QIOOptionValues *list = find_values(options, key);

    return list != NULL && list->values != NULL ? list->values[list->count - 1] : fallback;
}

const void *qio_options_get_bytes(const QIOOptions *options, const char *key, size_t *len)
{
    const QIOOptionValues *list = find_values(options, key);

    if (list == NULL || list->bytes == NULL) {
        return NULL;
    }
    *len = list->len;
    return list->bytes;
}

gpointer qio_options_get_object(const QIOOptions *options, const char *key)
{
    const QIOOptionValues *list = find_values(options, key);

    return list != NULL ? list->object : NULL;
}

const char *const *qio_options_get_list(const QIOOptions *options, const char *key)
{
    const QIOOptionValues *list = find_values(options, key);

    return list != NULL ? (const char *const *)list->values : NULL;
}

int64_t qio_options_get_int(const QIOOptions *options, const char *key, int64_t fallback)
{
    const char *value = qio_options_get_str(options, key, NULL);

    if (value == NULL || !g_ascii_isdigit(value[0])) {
        return fallback;
    }
    return g_ascii_strtoll(value, NULL,
                           qio_option_key_find(key, NULL)->type == QIO_OPTION_OCTAL ? 8 : 10);
}

bool qio_options_get_bool(const QIOOptions *options, const char *key, bool fallback)
{
    const char *value = qio_options_get_str(options, key, NULL);

    return value != NULL ? strcmp(value, "on") == 0 : fallback;
}

int qio_options_get_ms(const QIOOptions *options, const char *key, int fallback_ms)
{
    const char *value = qio_options_get_str(options, key, NULL);
    int ms;

    if (value == NULL) {
        return fallback_ms;
    }
    ms = qio_option_parse_ms(value);
    return ms == -2 ? fallback_ms : ms;
}

bool qio_options_check_uses(const QIOOptions *options, uint32_t uses, const char *what,
                            Error **errp)
{
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);

    for (size_t i = 0; options != NULL && i < count; i++) {
        if (options->of[i].count > 0 && !(keys[i].uses & uses)) {
            qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" has no use with %s",
                          keys[i].name, what);
            return false;
        }
    }
    return true;
}

const char *qio_options_find_file(const QIOOptions *options)
{
    size_t count;
    const QIOOptionKey *keys = qio_options_known_keys(&count);

    for (size_t i = 0; i < count; i++) {
        if (options->of[i].values != NULL && qio_option_key_names_file(&keys[i])) {
            return keys[i].name;
        }
    }
    return NULL;
}
