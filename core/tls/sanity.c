/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/sanity.c: whether one's own certificates can serve, told when they are read.
 *
 * Owns: the look at validity, basic constraints, key usage and purpose (RFC 5280, 4.2.1), which
 * would else show as a refused handshake, and on the other side.  Rules: the first certificate is
 * one's own, those behind it are authorities; of a list of trusted authorities one at least must
 * be fit, as public lists carry old ones along.  Any thread.
 */
#include "tls/tls-priv.h"

/* ---- reading the fields ---- */

static int check_times(gnutls_x509_crt_t crt, const char *what, const char *where, Error **errp)
{
    time_t begin = gnutls_x509_crt_get_activation_time(crt);
    time_t end = gnutls_x509_crt_get_expiration_time(crt);
    struct timespec now;

    sys_clock_gettime(CLOCK_REALTIME, &now);
    if (begin == (time_t)-1 || end == (time_t)-1) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_BAD, "%s in %s has no readable times", what, where);
        return -1;
    }
    if (end < now.tv_sec) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_EXPIRED, "%s in %s has expired", what, where);
        return -1;
    }
    if (begin > now.tv_sec) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_NOT_YET_VALID, "%s in %s is not valid yet", what,
                          where);
        return -1;
    }
    return 0;
}

static int check_constraints(gnutls_x509_crt_t crt, bool authority, const char *what,
                             const char *where, Error **errp)
{
    unsigned critical, ca = 0;
    int pathlen;
    int rc = gnutls_x509_crt_get_basic_constraints(crt, &critical, &ca, &pathlen);

    if (rc < 0 && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_BAD, "%s in %s has unreadable basic constraints", what,
                          where);
        return -1;
    }
    if (authority != (rc >= 0 && ca)) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_USAGE, "%s in %s is %s authority by its basic "
                          "constraints", what, where, authority ? "no" : "an");
        return -1;
    }
    return 0;
}

static int check_usage(gnutls_x509_crt_t crt, bool authority, const char *what, const char *where,
                       Error **errp)
{
    const unsigned right = authority
        ? GNUTLS_KEY_KEY_CERT_SIGN
        : GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT | GNUTLS_KEY_KEY_AGREEMENT;
    unsigned usage, critical;
    int rc = gnutls_x509_crt_get_key_usage(crt, &usage, &critical);

    if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return 0;       /* without the extension every use is right */
    }
    if (rc < 0) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_BAD, "%s in %s has an unreadable key usage", what,
                          where);
        return -1;
    }
    if (!(usage & right)) {
        qio_tls_set_fault(errp, QIO_TLS_CERT_USAGE, "%s in %s has a key usage without %s", what,
                          where, authority ? "the signing of certificates"
                                           : "digital signature and key encipherment");
        return -1;
    }
    return 0;
}

/* Without the extension every purpose is right. */
static int check_purpose(gnutls_x509_crt_t crt, bool server, const char *what, const char *where,
                         Error **errp)
{
    const char *right = server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    char oid[128];
    unsigned i;

    for (i = 0; ; i++) {
        size_t size = sizeof(oid);
        unsigned critical;
        int rc = gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &size, &critical);

        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            break;
        }
        if (rc < 0 && rc != GNUTLS_E_SHORT_MEMORY_BUFFER) {
            qio_tls_set_fault(errp, QIO_TLS_CERT_BAD, "%s in %s has an unreadable purpose", what,
                              where);
            return -1;
        }
        if (rc >= 0 && (g_str_equal(oid, right) || g_str_equal(oid, GNUTLS_KP_ANY))) {
            return 0;
        }
    }
    if (i == 0) {
        return 0;
    }
    qio_tls_set_fault(errp, QIO_TLS_CERT_USAGE, "%s in %s has purposes, and TLS %s is none of them",
                      what, where, server ? "server" : "client");
    return -1;
}

/* ---- lists ---- */

static int import_list(const QIOTlsMaterial *m, gnutls_x509_crt_t **list, unsigned *count,
                       Error **errp)
{
    int rc = gnutls_x509_crt_list_import2(list, count, &m->data, GNUTLS_X509_FMT_PEM, 0);

    if (rc < 0) {
        qio_tls_set_gnutls_error(errp, rc, "%s: no certificates can be read", m->where);
        return -1;
    }
    return 0;
}

static void free_list(gnutls_x509_crt_t *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        gnutls_x509_crt_deinit(list[i]);
    }
    gnutls_free(list);
}

static int check_authority(gnutls_x509_crt_t crt, const char *where, Error **errp)
{
    const char *what = "the authority's certificate";

    if (check_times(crt, what, where, errp) < 0 ||
        check_constraints(crt, true, what, where, errp) < 0) {
        return -1;
    }
    return check_usage(crt, true, what, where, errp);
}

static int check_leaf(gnutls_x509_crt_t crt, bool server, const char *where, Error **errp)
{
    const char *what = server ? "the server's certificate" : "the client's certificate";

    if (check_times(crt, what, where, errp) < 0 ||
        check_constraints(crt, false, what, where, errp) < 0 ||
        check_usage(crt, false, what, where, errp) < 0) {
        return -1;
    }
    return check_purpose(crt, server, what, where, errp);
}

int qio_tls_check_own(const QIOTlsMaterial *m, bool server, Error **errp)
{
    gnutls_x509_crt_t *list;
    unsigned count, i;
    int ret;

    if (import_list(m, &list, &count, errp) < 0) {
        return -1;
    }
    ret = check_leaf(list[0], server, m->where, errp);
    for (i = 1; i < count && ret == 0; i++) {
        ret = check_authority(list[i], m->where, errp);
    }
    free_list(list, count);
    return ret;
}

int qio_tls_check_authorities(const QIOTlsMaterial *m, Error **errp)
{
    gnutls_x509_crt_t *list;
    unsigned count, i;
    Error *err = NULL;
    int ret = -1;

    if (import_list(m, &list, &count, errp) < 0) {
        return -1;
    }
    /* The first fault stays, as the first error does. */
    for (i = 0; i < count && ret < 0; i++) {
        ret = check_authority(list[i], m->where, &err);
    }
    free_list(list, count);
    if (ret == 0) {
        qio_error_free(err);
    } else {
        qio_error_propagate(errp, err);
    }
    return ret;
}
