/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options/option-keys.c: the register of keys that options and URIs know.
 *
 * Owns: which keys there are, what each takes, which schemes and layers have a use for it, and the
 * messages that say so.  A new key is one row here.
 * Rule: the table is constant and in alphabetical order.  Any thread.
 */
#include "options/options-priv.h"

#include <stdlib.h>
#include <string.h>

#define BIT(use) QIO_FOR_BIT(QIO_FOR_##use)
#define ALL 0xffffffffu
#define LISTENING (BIT(TCP) | BIT(UNIX) | BIT(ABSTRACT) | BIT(VSOCK))

static const char *const allow_choices[] = {
    "net", "unix", "vsock", "fd", "file", "null", "buffer", "exec", "all", NULL
};
static const char *const mode_choices[] = { "r", "w", "rw", "a", NULL };
static const char *const stderr_choices[] = { "inherit", "null", "merge", "pipe", NULL };
static const char *const ws_mode_choices[] = { "stream", "messages", NULL };

/* The times fit an int of milliseconds. */
#define SECONDS_MAX 2147483

static const QIOOptionKey keys[] = {
    { "allow", QIO_OPTION_CHOICES, true, false, ALL, .choices = allow_choices },
    { "arg", QIO_OPTION_TEXT, true, true, BIT(EXEC) },
    { "backlog", QIO_OPTION_NUMBER, false, true, LISTENING, 1, 65535 },
    { "buffer", QIO_OPTION_NUMBER, false, false, BIT(RELAY), 1, 16 * 1024 * 1024 },
    { "close-timeout", QIO_OPTION_SECONDS, false, true, BIT(EXEC), 0, SECONDS_MAX },
    { "columns", QIO_OPTION_NUMBER, false, true, BIT(EXEC), 0, 65535 },
    { "cwd", QIO_OPTION_TEXT, false, true, BIT(EXEC) },
    { "env", QIO_OPTION_VARIABLE, true, true, BIT(EXEC) },
    { "handshake-timeout", QIO_OPTION_SECONDS, false, true, BIT(TLS) | BIT(WS), 0, SECONDS_MAX },
    { "idle-timeout", QIO_OPTION_SECONDS, false, false, BIT(RELAY), 0, SECONDS_MAX },
    { "ipv4", QIO_OPTION_SWITCH, false, true, BIT(TCP) },
    { "ipv6", QIO_OPTION_SWITCH, false, true, BIT(TCP) },
    { "keep-alive", QIO_OPTION_SWITCH, false, true, BIT(TCP) },
    { "limit", QIO_OPTION_NUMBER, false, false, BIT(RELAY), 0, INT64_MAX },
    { "mode", QIO_OPTION_CHOICE, false, true, BIT(FILE), .choices = mode_choices },
    { "name", QIO_OPTION_TEXT, false, true, ALL },
    { "nodelay", QIO_OPTION_SWITCH, false, true, BIT(TCP) },
    { "numeric", QIO_OPTION_SWITCH, false, true, BIT(TCP) },
    { "permissions", QIO_OPTION_OCTAL, false, true, BIT(FILE), 0, 07777 },
    { "pty", QIO_OPTION_SWITCH, false, true, BIT(EXEC) },
    { "raw", QIO_OPTION_SWITCH, false, true, BIT(FILE) },
    { "rows", QIO_OPTION_NUMBER, false, true, BIT(EXEC), 0, 65535 },
    { "speed", QIO_OPTION_NUMBER, false, true, BIT(FILE), 50, 4000000 },
    { "stderr", QIO_OPTION_CHOICE, false, true, BIT(EXEC), .choices = stderr_choices },
    /* A number of this process, which a line of a configuration file cannot know. */
    { "stderr-fd", QIO_OPTION_NUMBER, false, false, BIT(EXEC), 0, INT32_MAX },
    { "timeout", QIO_OPTION_SECONDS, false, true, ALL, 0, SECONDS_MAX },
    { "tls-acl", QIO_OPTION_TEXT, true, true, BIT(TLS) },
    { "tls-alpn", QIO_OPTION_TEXT, true, true, BIT(TLS) },
    { "tls-anon", QIO_OPTION_SWITCH, false, true, BIT(CREDS) },
    { "tls-ca", QIO_OPTION_MATERIAL, false, true, BIT(CREDS) },
    { "tls-cert", QIO_OPTION_MATERIAL, false, true, BIT(CREDS) },
    { "tls-creds", QIO_OPTION_OBJECT, false, false, BIT(CREDS) },
    { "tls-crl", QIO_OPTION_MATERIAL, false, true, BIT(CREDS) },
    { "tls-dir", QIO_OPTION_PATH, false, true, BIT(CREDS) },
    { "tls-hostname", QIO_OPTION_TEXT, false, true, BIT(TLS) },
    { "tls-key", QIO_OPTION_MATERIAL, false, true, BIT(CREDS) },
    { "tls-password", QIO_OPTION_SECRET, false, false, BIT(CREDS) },
    { "tls-priority", QIO_OPTION_TEXT, false, true, BIT(CREDS) },
    { "tls-psk-file", QIO_OPTION_PATH, false, true, BIT(CREDS) },
    { "tls-psk-key", QIO_OPTION_SECRET, false, false, BIT(CREDS) },
    { "tls-psk-user", QIO_OPTION_TEXT, false, true, BIT(CREDS) },
    { "tls-relaxed", QIO_OPTION_SWITCH, false, true, BIT(TLS) },
    { "tls-resume", QIO_OPTION_SWITCH, false, true, BIT(TLS) },
    { "tls-sanity", QIO_OPTION_SWITCH, false, true, BIT(CREDS) },
    { "tls-verify", QIO_OPTION_SWITCH, false, true, BIT(CREDS) },
    { "to", QIO_OPTION_NUMBER, false, true, BIT(TCP), 1, 65535 },
    { "ws-deflate", QIO_OPTION_SWITCH, false, true, BIT(WS) },
    { "ws-header", QIO_OPTION_TEXT, true, true, BIT(WS) },
    { "ws-host", QIO_OPTION_TEXT, false, true, BIT(WS) },
    { "ws-max-inflated", QIO_OPTION_NUMBER, false, true, BIT(WS), 1, INT32_MAX },
    { "ws-max-message", QIO_OPTION_NUMBER, false, true, BIT(WS), 1, INT32_MAX },
    { "ws-mode", QIO_OPTION_CHOICE, false, true, BIT(WS), .choices = ws_mode_choices },
    { "ws-origin", QIO_OPTION_TEXT, false, true, BIT(WS) },
    { "ws-path", QIO_OPTION_TEXT, false, true, BIT(WS) },
    { "ws-protocol", QIO_OPTION_TEXT, true, true, BIT(WS) },
    /* Whoever asks has to answer, which a URI cannot. */
    { "ws-request", QIO_OPTION_SWITCH, false, false, BIT(WS) },
};

const QIOOptionKey *qio_options_known_keys(size_t *count)
{
    *count = G_N_ELEMENTS(keys);
    return keys;
}

/* The distance of Levenshtein: insertions, deletions and replacements of one byte. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t width = strlen(b) + 1;
    size_t *row = g_new(size_t, width);
    size_t distance;

    for (size_t j = 0; j < width; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 1; j < width; j++) {
            size_t replaced = diagonal + (a[i] != b[j - 1]);

            diagonal = row[j];
            row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
        }
    }
    distance = row[width - 1];
    g_free(row);
    return distance;
}

const char *qio_nearest_name(const char *text, const char *const *names)
{
    const char *nearest = names[0];
    size_t best = SIZE_MAX;

    for (; *names != NULL; names++) {
        size_t distance = edit_distance(text, *names);

        if (distance < best) {
            best = distance;
            nearest = *names;
        }
    }
    return nearest;
}

static const char *nearest_key(const char *text)
{
    const char *names[G_N_ELEMENTS(keys) + 1];

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        names[i] = keys[i].name;
    }
    names[G_N_ELEMENTS(keys)] = NULL;
    return qio_nearest_name(text, names);
}

const QIOOptionKey *qio_option_key_find(const char *name, Error **errp)
{
    char piece[64];

    if (name == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key is NULL");
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(name, keys[i].name) == 0) {
            return &keys[i];
        }
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "unknown key \"%s\"; the nearest is \"%s\"",
                  qio_escape_bytes(name, strlen(name), piece, sizeof(piece)), nearest_key(name));
    return NULL;
}

bool qio_option_key_names_file(const QIOOptionKey *key)
{
    return key->type == QIO_OPTION_PATH || key->type == QIO_OPTION_MATERIAL;
}

int qio_option_parse_ms(const char *value)
{
    int64_t ms = 0;
    int64_t scale = 100;
    bool part = false;          /* less than a millisecond */
    const char *p = value;

    if (strcmp(value, "none") == 0 || strcmp(value, "off") == 0) {
        return -1;
    }
    if (!g_ascii_isdigit(*p)) {
        return -2;
    }
    for (; g_ascii_isdigit(*p); p++) {
        ms = ms * 10 + (*p - '0');
        if (ms > SECONDS_MAX) {
            return -2;
        }
    }
    ms *= 1000;
    if (*p == '.') {
        if (!g_ascii_isdigit(*++p)) {
            return -2;
        }
        for (; g_ascii_isdigit(*p); p++) {
            ms += (*p - '0') * scale;
            part |= scale == 0 && *p != '0';
            scale /= 10;
        }
    }
    ms += part;
    return *p == '\0' && ms <= SECONDS_MAX * INT64_C(1000) ? (int)ms : -2;
}

static bool number_in_range(const QIOOptionKey *key, const char *value, int base)
{
    char *end;
    gint64 number;

    if (!g_ascii_isdigit(value[0])) {
        return false;
    }
    errno = 0;
    number = g_ascii_strtoll(value, &end, base);
    return errno == 0 && *end == '\0' && number >= key->min && number <= key->max;
}

static bool is_choice(const char *const *choices, const char *value, size_t len)
{
    for (; *choices != NULL; choices++) {
        if (strlen(*choices) == len && memcmp(*choices, value, len) == 0) {
            return true;
        }
    }
    return false;
}

static bool all_choices(const char *const *choices, const char *value)
{
    for (;;) {
        size_t len = strcspn(value, ",");

        if (!is_choice(choices, value, len)) {
            return false;
        }
        if (value[len] == '\0') {
            return true;
        }
        value += len + 1;
    }
}

static bool value_fits(const QIOOptionKey *key, const char *value)
{
    switch (key->type) {
    case QIO_OPTION_TEXT:
        return true;
    case QIO_OPTION_PATH:
    case QIO_OPTION_MATERIAL:
        return value[0] != '\0';
    case QIO_OPTION_SECRET:
    case QIO_OPTION_OBJECT:
        return false;
    case QIO_OPTION_SWITCH:
        return strcmp(value, "on") == 0 || strcmp(value, "off") == 0;
    case QIO_OPTION_NUMBER:
        return number_in_range(key, value, 10);
    case QIO_OPTION_OCTAL:
        return number_in_range(key, value, 8);
    case QIO_OPTION_SECONDS:
        return qio_option_parse_ms(value) != -2;
    case QIO_OPTION_CHOICE:
        return is_choice(key->choices, value, strlen(value));
    case QIO_OPTION_CHOICES:
        return all_choices(key->choices, value);
    case QIO_OPTION_VARIABLE:
        return value[0] == '\0' || (value[0] != '=' && strchr(value, '=') != NULL);
    }
    return false;
}

/* "r, w, rw or a" */
static char *join_choices(const char *const *choices)
{
    GString *text = g_string_new(choices[0]);

    for (size_t i = 1; choices[i] != NULL; i++) {
        g_string_append(text, choices[i + 1] != NULL ? ", " : " or ");
        g_string_append(text, choices[i]);
    }
    return g_string_free(text, FALSE);
}

static char *describe_values(const QIOOptionKey *key)
{
    switch (key->type) {
    case QIO_OPTION_TEXT:
        return g_strdup("text");
    case QIO_OPTION_PATH:
    case QIO_OPTION_MATERIAL:
        return g_strdup("a path");
    case QIO_OPTION_SWITCH:
        return g_strdup("on or off");
    case QIO_OPTION_NUMBER:
        return g_strdup_printf("a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                               key->min, key->max);
    case QIO_OPTION_OCTAL:
        return g_strdup_printf("an octal number from %" G_GINT64_MODIFIER "o to %"
                               G_GINT64_MODIFIER "o", key->min, key->max);
    case QIO_OPTION_SECONDS:
        return g_strdup_printf("seconds from 0 to %" G_GINT64_FORMAT " (such as 2.5), none or "
                               "off", key->max);
    case QIO_OPTION_CHOICE:
    case QIO_OPTION_CHOICES:
        return join_choices(key->choices);
    case QIO_OPTION_VARIABLE:
        return g_strdup("NAME=value");
    case QIO_OPTION_SECRET:
    case QIO_OPTION_OBJECT:
        break;                  /* no text is right */
    }
    return NULL;
}

bool qio_option_key_check(const QIOOptionKey *key, const char *value, Error **errp)
{
    char piece[64];
    char *wanted;

    if (value == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the value of the key \"%s\" is NULL", key->name);
        return false;
    }
    if (value_fits(key, value)) {
        return true;
    }
    if (key->type == QIO_OPTION_SECRET || key->type == QIO_OPTION_OBJECT) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes %s, not text", key->name,
                      key->type == QIO_OPTION_SECRET ? "bytes" : "an object");
        return false;           /* a message that shows what may be a secret helps nobody */
    }
    wanted = describe_values(key);
    qio_error_set(errp, QIO_ERROR_INVAL, "the key \"%s\" takes %s, not \"%s\"", key->name, wanted,
                  qio_escape_bytes(value, strlen(value), piece, sizeof(piece)));
    g_free(wanted);
    return false;
}
