/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/activation.c: the protocol of socket activation: LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES.
 *
 * Owns: which of the descriptors from 3 on were given out.  One that was is closed under its old
 * number, which may then be anything's, so it is never given out again.
 * Rules: the environment is only read, and only believed where LISTEN_PID is this process (a
 * forked child and a command are not meant).  A descriptor is taken as a copy that is
 * close-on-exec from birth.  Any thread.
 */
#include "net/activation.h"

#include <stdatomic.h>
#include <string.h>
#include "base/sys.h"

enum { FIRST_FD = 3, MOST_FDS = 1024 };

static _Atomic(bool) taken[MOST_FDS];

/* A decimal number without sign or spaces; -1 = none. */
static int64_t read_number(const char *variable)
{
    const char *text = g_getenv(variable);
    size_t digits = text != NULL ? strspn(text, "0123456789") : 0;

    if (digits == 0 || digits > 9 || text[digits] != '\0') {
        return -1;
    }
    return g_ascii_strtoll(text, NULL, 10);
}

/* How many descriptors there are for this process; -1 with an error. */
static int count_fds(Error **errp)
{
    int64_t pid = read_number("LISTEN_PID");
    int64_t count = read_number("LISTEN_FDS");

    if (pid < 0 || count < 0) {
        qio_error_set(errp, QIO_ERROR_INVAL, "no descriptors were passed to this process: "
                      "LISTEN_PID and LISTEN_FDS are not set");
        return -1;
    }
    if (pid != sys_getpid()) {
        qio_error_set(errp, QIO_ERROR_INVAL, "no descriptors were passed to this process: "
                      "LISTEN_PID is %d, and this is %d", (int)pid, (int)sys_getpid());
        return -1;
    }
    if (count < 1 || count > MOST_FDS) {
        qio_error_set(errp, QIO_ERROR_INVAL, "LISTEN_FDS is %d; it has to be 1 to %d", (int)count,
                      MOST_FDS);
        return -1;
    }
    return (int)count;
}

/* Their names; without LISTEN_FDNAMES each is "unknown". */
static char **read_names(int count, Error **errp)
{
    const char *text = g_getenv("LISTEN_FDNAMES");
    char **names;

    if (text == NULL) {
        names = g_new0(char *, (size_t)count + 1);
        for (int i = 0; i < count; i++) {
            names[i] = g_strdup("unknown");
        }
        return names;
    }
    names = g_strsplit(text, ":", MOST_FDS + 1);
    if (g_strv_length(names) != (guint)count) {
        qio_error_set(errp, QIO_ERROR_INVAL, "LISTEN_FDNAMES has %u names for the %d descriptors "
                      "of LISTEN_FDS", g_strv_length(names), count);
        g_clear_pointer(&names, g_strfreev);
    }
    return names;
}

static int copy_fd(int fd, GArray *fds, Error **errp)
{
    QIOActivated activated = {
        .fd = sys_fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD),
        .original = fd,
    };

    if (activated.fd < 0) {
        qio_error_set_errno(errp, errno, "cannot take the descriptor %d of LISTEN_FDS", fd);
        return -1;
    }
    g_array_append_val(fds, activated);
    return 0;
}

/* Copies what has the name.  Returns: 0, or -1 when there is nothing */
static int copy_named(char **names, const char *name, GArray *fds, Error **errp)
{
    char text[300];
    bool known = false;

    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) != 0) {
            continue;
        }
        known = true;
        if (!atomic_load(&taken[i]) && copy_fd(FIRST_FD + i, fds, errp) < 0) {
            return -1;
        }
    }
    if (fds->len > 0) {
        return 0;
    }
    qio_error_set(errp, QIO_ERROR_INVAL, known ? "fd: \"%s\" was opened already"
                  : "fd: no descriptor in LISTEN_FDNAMES has the name \"%s\"",
                  qio_escape_bytes(name, strlen(name), text, sizeof(text)));
    return -1;
}

GArray *qio_activation_begin(const char *name, Error **errp)
{
    int count = count_fds(errp);
    char **names = count < 0 ? NULL : read_names(count, errp);
    GArray *fds;

    if (names == NULL) {
        return NULL;
    }
    fds = g_array_new(FALSE, FALSE, sizeof(QIOActivated));
    if (copy_named(names, name, fds, errp) < 0) {
        qio_activation_end(g_steal_pointer(&fds), false);
    }
    g_strfreev(names);
    return fds;
}

void qio_activation_end(GArray *fds, bool is_taken)
{
    for (guint i = 0; i < fds->len; i++) {
        QIOActivated *activated = &g_array_index(fds, QIOActivated, i);

        if (!is_taken) {
            sys_close(activated->fd);
        } else if (!atomic_exchange(&taken[activated->original - FIRST_FD], true)) {
            sys_close(activated->original);
        }
    }
    g_array_unref(fds);
}
