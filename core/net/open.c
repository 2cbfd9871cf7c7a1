/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/open.c: opening a channel by URI.
 *
 * Owns: what each scheme opens, what the caller allows, and the one deadline over it all.
 * Rule: nothing is opened, started or taken before everything that was asked for has been
 * checked; on failure the caller's descriptors are as they were.  Any thread.
 */
#include "net/layers.h"

#include <limits.h>
#include <string.h>
#include <qio/channel-buffer.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>
#include "base/sys.h"
#include "channel/file-priv.h"

/* What "allow" has to name for each scheme. */
static const char *const allow_name[] = {
    [QIO_SCHEME_TCP] = "net",
    [QIO_SCHEME_UNIX] = "unix",
    [QIO_SCHEME_ABSTRACT] = "unix",
    [QIO_SCHEME_VSOCK] = "vsock",
    [QIO_SCHEME_FD] = "fd",
    [QIO_SCHEME_FILE] = "file",
    [QIO_SCHEME_EXEC] = "exec",
    [QIO_SCHEME_NULL] = "null",
    [QIO_SCHEME_BUFFER] = "buffer",
};

/* Whether one value of the list, "net,unix", names it. */
static bool list_has(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (;;) {
        size_t item = strcspn(list, ",");

        if (item == len && memcmp(list, name, len) == 0) {
            return true;
        }
        if (list[item] == '\0') {
            return false;
        }
        list += item + 1;
    }
}

/* Whether the caller's key "allow" has the name, or all. */
static bool is_allowed(const QIOOptions *options, const char *name)
{
    const char *const *lists = qio_options_get_list(options, "allow");

    if (lists == NULL) {
        return strcmp(name, "exec") != 0 && strcmp(name, "all") != 0;
    }
    for (; *lists != NULL; lists++) {
        if (list_has(*lists, "all") || list_has(*lists, name)) {
            return true;
        }
    }
    return false;
}

/* Where the scheme starts in a text that has been parsed, behind the layers. */
static size_t scheme_position(const char *text)
{
    const char *plus = memrchr(text, '+', strcspn(text, ":"));

    return plus != NULL ? (size_t)(plus + 1 - text) : 0;
}

static bool check_allowed(const QIOUri *uri, const char *text, const QIOOptions *options,
                          Error **errp)
{
    const char *key = qio_options_find_file(uri->options);

    if (!is_allowed(options, allow_name[uri->scheme])) {
        qio_error_set_errno(errp, EACCES, "URI at position %zu: %s: needs \"%s\" or \"all\" in the "
                            "key \"allow\" of the caller's options", scheme_position(text),
                            qio_scheme_name(uri->scheme), allow_name[uri->scheme]);
        return false;
    }
    if (key != NULL && !is_allowed(options, "all")) {
        qio_error_set_errno(errp, EACCES, "URI at position %zu: the key \"%s\" names a file, which "
                            "needs \"all\" in the key \"allow\" of the caller's options",
                            qio_uri_find_key(text, key), key);
        return false;
    }
    return true;
}

QIOUri *qio_uri_parse_allowed(const char *text, const QIOOptions *options, Error **errp)
{
    QIOUri *uri = qio_uri_parse(text, errp);
    bool fits;
    char *what;

    if (uri == NULL) {
        return NULL;
    }
    what = qio_uri_describe(uri);
    fits = check_allowed(uri, text, options, errp) &&
           qio_options_check_uses(options, qio_uri_uses(uri), what, errp);
    g_free(what);
    if (!fits) {
        qio_uri_free(uri);
        return NULL;
    }
    if (options != NULL) {
        qio_options_override(uri->options, options);
    }
    return uri;
}

int qio_file_mode_flags(const char *mode, Error **errp)
{
    char piece[64];

    if (mode == NULL) {
        qio_error_set(errp, QIO_ERROR_INVAL, "the mode is NULL; it has to be r, w, rw or a");
        return -1;
    }
    if (strcmp(mode, "r") == 0) {
        return O_RDONLY;
    }
    if (strcmp(mode, "w") == 0) {
        return O_WRONLY | O_CREAT | O_TRUNC;
    }
    if (strcmp(mode, "rw") == 0) {
        return O_RDWR | O_CREAT;
    }
    if (strcmp(mode, "a") == 0) {
        return O_WRONLY | O_CREAT | O_APPEND;
    }
    qio_error_set(errp, QIO_ERROR_INVAL, "the mode has to be r, w, rw or a, not \"%s\"",
                  qio_escape_bytes(mode, strlen(mode), piece, sizeof(piece)));
    return -1;
}

static QIOChannel *open_file(const QIOUri *uri, int more_flags, bool interruptible, Error **errp)
{
    int flags = qio_file_mode_flags(qio_options_get_str(uri->options, "mode", "r"), errp);
    mode_t permissions = (mode_t)qio_options_get_int(uri->options, "permissions", 0666);
    bool raw = qio_options_get_bool(uri->options, "raw", false);
    int speed = (int)qio_options_get_int(uri->options, "speed", 0);

    if (flags < 0) {
        return NULL;
    }
    if (raw || speed != 0) {
        return (QIOChannel *)qio_channel_file_open_line(uri->path, flags, raw, speed, errp);
    }
    return (QIOChannel *)qio_channel_file_open(uri->path, flags | more_flags, permissions,
                                               interruptible, errp);
}

/* ---- commands ---- */

static bool read_stderr(const QIOOptions *options, QIOCommandOptions *out, Error **errp)
{
    static const struct {
        const char *name;
        QIOCommandStderr mode;
    } modes[] = {
        { "inherit", QIO_COMMAND_STDERR_INHERIT },
        { "null", QIO_COMMAND_STDERR_NULL },
        { "merge", QIO_COMMAND_STDERR_MERGE },
        { "pipe", QIO_COMMAND_STDERR_PIPE },
    };
    const char *name = qio_options_get_str(options, "stderr", "inherit");

    if (qio_options_has(options, "stderr-fd")) {
        if (qio_options_has(options, "stderr")) {
            qio_error_set(errp, QIO_ERROR_INVAL,
                          "the keys \"stderr\" and \"stderr-fd\" exclude each other");
            return false;
        }
        out->stderr_mode = QIO_COMMAND_STDERR_FD;
        out->stderr_fd = (int)qio_options_get_int(options, "stderr-fd", -1);
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(name, modes[i].name) == 0) {
            out->stderr_mode = modes[i].mode;
        }
    }
    return true;
}

/* The variables without the empty entry that stands for "none"; NULL = ours. */
static const char **read_env(const QIOOptions *options)
{
    const char *const *values = qio_options_get_list(options, "env");
    const char **env;
    size_t n = 0;

    if (values == NULL) {
        return NULL;
    }
    env = g_new0(const char *, g_strv_length((char **)values) + 1);
    for (; *values != NULL; values++) {
        if ((*values)[0] != '\0') {
            env[n++] = *values;
        }
    }
    return env;
}

/* The key limits the whole close: one half is to end by itself, one to obey SIGTERM.  Without a
 * limit there is never a signal. */
static int close_step_ms(const QIOOptions *options)
{
    int ms = qio_options_get_ms(options, "close-timeout", 5000);

    return ms < 0 ? INT_MAX : ms / 2;
}

/* A command with options that are checked, and may have keys of layers too. */
static QIOChannelCommand *command_new(const char *const argv[], const QIOOptions *options,
                                      Error **errp)
{
    QIOCommandOptions how = {
        .flags = O_RDWR,
        .search_path = true,
        .cwd = qio_options_get_str(options, "cwd", NULL),
        .close_timeout_ms = close_step_ms(options),
        .pty = qio_options_get_bool(options, "pty", false),
        .rows = (int)qio_options_get_int(options, "rows", 0),
        .columns = (int)qio_options_get_int(options, "columns", 0),
    };
    QIOChannelCommand *ioc;
    const char **env;

    if (!read_stderr(options, &how, errp)) {
        return NULL;
    }
    env = read_env(options);
    how.env = env;
    ioc = qio_channel_command_new_full(argv, &how, errp);
    g_free(env);
    if (ioc != NULL && qio_options_has(options, "name")) {
        qio_channel_set_name((QIOChannel *)ioc, qio_options_get_str(options, "name", NULL));
    }
    return ioc;
}

QIOChannelCommand *qio_channel_command_new_options(const char *const argv[],
                                                   const QIOOptions *options, Error **errp)
{
    if (!qio_options_check_uses(options, QIO_FOR_BIT(QIO_FOR_EXEC), "exec:", errp)) {
        return NULL;
    }
    return command_new(argv, options, errp);
}

static QIOChannel *open_exec(const QIOUri *uri, Error **errp)
{
    const char *const *args = qio_options_get_list(uri->options, "arg");
    size_t nargs = args != NULL ? g_strv_length((char **)args) : 0;
    const char **argv = g_new0(const char *, nargs + 2);
    QIOChannelCommand *ioc;

    argv[0] = uri->path;
    for (size_t i = 0; i < nargs; i++) {
        argv[i + 1] = args[i];
    }
    ioc = command_new(argv, uri->options, errp);
    g_free(argv);
    return (QIOChannel *)ioc;
}

/* ---- sockets ---- */

static QIOChannel *open_socket(const QIOUri *uri, int64_t deadline_ns, bool interruptible,
                               Error **errp)
{
    QIOChannelSocket *ioc = qio_channel_socket_new();

    if (qio_channel_socket_connect_options(ioc, uri->address, uri->options, deadline_ns,
                                           interruptible, errp) < 0) {
        qio_object_unref(ioc);
        return NULL;
    }
    return (QIOChannel *)ioc;
}

static QIOChannel *open_scheme(const QIOUri *uri, int64_t deadline_ns, bool interruptible,
                               Error **errp)
{
    switch (uri->scheme) {
    case QIO_SCHEME_TCP:
    case QIO_SCHEME_UNIX:
    case QIO_SCHEME_ABSTRACT:
    case QIO_SCHEME_VSOCK:
        return open_socket(uri, deadline_ns, interruptible, errp);
    case QIO_SCHEME_FD:
        return qio_address_open_fd(uri->address, errp);
    case QIO_SCHEME_FILE:
        return open_file(uri, 0, interruptible, errp);
    case QIO_SCHEME_EXEC:
        return open_exec(uri, errp);
    case QIO_SCHEME_NULL:
        return (QIOChannel *)qio_channel_null_new();
    case QIO_SCHEME_BUFFER:
        return (QIOChannel *)qio_channel_buffer_new(0);
    }
    return NULL;
}

static QIOChannel *open_layered(const QIOUri *uri, bool interruptible, Error **errp)
{
    int timeout_ms = qio_options_get_ms(uri->options, "timeout", QIO_OPEN_TIMEOUT_MS);
    QIOLayers *layers = NULL;
    int64_t deadline_ns;
    QIOChannel *ioc;

    if (uri->layer_count > 0) {
        layers = qio_layers_new(uri, false, errp);
        if (layers == NULL) {
            return NULL;
        }
    }
    deadline_ns = sys_deadline_ns(timeout_ms);
    ioc = open_scheme(uri, deadline_ns, interruptible, errp);
    if (ioc != NULL) {
        ioc = qio_layers_shake_all(layers, ioc, deadline_ns, interruptible, errp);
    }
    qio_layers_unref(layers);
    return ioc;
}

QIOChannel *qio_uri_open_at_once(const QIOUri *uri, Error **errp)
{
    return uri->scheme == QIO_SCHEME_FILE ? open_file(uri, O_NONBLOCK, false, errp)
                                          : open_scheme(uri, 0, false, errp);
}

QIOChannel *qio_channel_open_uri(const char *text, const QIOOptions *options, bool interruptible,
                                 Error **errp)
{
    QIOUri *uri = qio_uri_parse_allowed(text, options, errp);
    QIOChannel *ioc;
    const char *name;

    if (uri == NULL) {
        return NULL;
    }
    ioc = open_layered(uri, interruptible, errp);
    name = qio_options_get_str(uri->options, "name", NULL);
    if (ioc != NULL && name != NULL) {
        qio_channel_set_name(ioc, name);
    }
    qio_uri_free(uri);
    return ioc;
}
