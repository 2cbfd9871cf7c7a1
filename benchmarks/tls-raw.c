/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * benchmarks/tls-raw.c: see tls-raw.h.
 */
#include "tls-raw.h"

#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static gnutls_certificate_credentials_t cert_creds[2];
static gnutls_psk_client_credentials_t psk_client;
static gnutls_psk_server_credentials_t psk_server;
static gnutls_priority_t priority[2];

static void check(int ret, const char *what)
{
    if (ret < 0) {
        fprintf(stderr, "%s: %s\n", what, gnutls_strerror(ret));
        exit(1);
    }
}

static gnutls_x509_privkey_t new_key(void)
{
    gnutls_x509_privkey_t key;

    check(gnutls_x509_privkey_init(&key), "key");
    check(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
              GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0), "key");
    return key;
}

static gnutls_x509_crt_t new_certificate(gnutls_x509_privkey_t key, const char *name,
                                         unsigned char serial, unsigned usage)
{
    gnutls_x509_crt_t cert;

    check(gnutls_x509_crt_init(&cert), "certificate");
    check(gnutls_x509_crt_set_version(cert, 3), "version");
    check(gnutls_x509_crt_set_serial(cert, &serial, 1), "serial");
    check(gnutls_x509_crt_set_activation_time(cert, 978307200), "time");
    check(gnutls_x509_crt_set_expiration_time(cert, 4070908800), "time");
    check(gnutls_x509_crt_set_dn(cert, name, NULL), "name");
    check(gnutls_x509_crt_set_key_usage(cert, usage), "usage");
    check(gnutls_x509_crt_set_key(cert, key), "key");
    return cert;
}

static void make_certificates(RawMaterial *material)
{
    gnutls_x509_privkey_t ca_key = new_key(), key = new_key();
    gnutls_x509_crt_t ca = new_certificate(ca_key, "CN=CA", 1, GNUTLS_KEY_KEY_CERT_SIGN);
    gnutls_x509_crt_t cert = new_certificate(key, "CN=" RAW_HOST, 2, GNUTLS_KEY_DIGITAL_SIGNATURE);

    check(gnutls_x509_crt_set_ca_status(ca, 1), "constraints");
    check(gnutls_x509_crt_sign2(ca, ca, ca_key, GNUTLS_DIG_SHA256, 0), "signature");
    check(gnutls_x509_crt_set_ca_status(cert, 0), "constraints");
    check(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0), "purpose");
    check(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, RAW_HOST,
              strlen(RAW_HOST), 0), "name");
    check(gnutls_x509_crt_sign2(cert, ca, ca_key, GNUTLS_DIG_SHA256, 0), "signature");
    check(gnutls_x509_crt_export2(ca, GNUTLS_X509_FMT_PEM, &material->ca), "export");
    check(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &material->cert), "export");
    check(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &material->key), "export");
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(ca_key);
    gnutls_x509_privkey_deinit(key);
}

const RawMaterial *raw_material(void)
{
    static RawMaterial material;

    if (!material.cert.data) {
        make_certificates(&material);
        memset(material.psk, 7, sizeof(material.psk));
    }
    return &material;
}

static int find_psk(gnutls_session_t session, const char *user, gnutls_datum_t *key)
{
    const RawMaterial *material = raw_material();

    key->size = sizeof(material->psk);
    key->data = gnutls_malloc(key->size);
    memcpy(key->data, material->psk, key->size);
    return strcmp(user, RAW_USER) == 0 ? 0 : -1;
}

static void set_up(void)
{
    const RawMaterial *material = raw_material();
    gnutls_datum_t psk = { (unsigned char *)material->psk, sizeof(material->psk) };

    if (priority[0]) {
        return;
    }
    check(gnutls_certificate_allocate_credentials(&cert_creds[0]), "credentials");
    check(gnutls_certificate_allocate_credentials(&cert_creds[1]), "credentials");
    check(gnutls_certificate_set_x509_trust_mem(cert_creds[0], &material->ca,
              GNUTLS_X509_FMT_PEM), "trust");
    check(gnutls_certificate_set_x509_key_mem(cert_creds[1], &material->cert, &material->key,
              GNUTLS_X509_FMT_PEM), "certificate");
    check(gnutls_psk_allocate_client_credentials(&psk_client), "credentials");
    check(gnutls_psk_set_client_credentials(psk_client, RAW_USER, &psk, GNUTLS_PSK_KEY_RAW), "PSK");
    check(gnutls_psk_allocate_server_credentials(&psk_server), "credentials");
    gnutls_psk_set_server_credentials_function(psk_server, find_psk);
    check(gnutls_priority_init(&priority[0], RAW_PRIORITY, NULL), "priority");
    check(gnutls_priority_init(&priority[1], RAW_PRIORITY_PSK, NULL), "priority");
}

static void new_socketpair(int fd[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0) {
        perror("socketpair");
        exit(1);
    }
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    fcntl(fd[1], F_SETFL, O_NONBLOCK);
}

static gnutls_session_t open_end(int fd, bool server, bool psk)
{
    gnutls_session_t session;

    check(gnutls_init(&session, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK |
              GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS), "session");
    check(gnutls_priority_set(session, priority[psk]), "priority");
    if (psk) {
        check(gnutls_credentials_set(session, GNUTLS_CRD_PSK,
                  server ? (void *)psk_server : (void *)psk_client), "credentials");
    } else {
        check(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, cert_creds[server]),
              "credentials");
    }
    if (!server) {
        check(gnutls_server_name_set(session, GNUTLS_NAME_DNS, RAW_HOST, strlen(RAW_HOST)),
              "name");
        if (!psk) {
            gnutls_session_set_verify_cert(session, RAW_HOST, 0);
        }
    }
    gnutls_transport_set_int(session, fd);
    return session;
}

void raw_open(RawPair *pair, bool psk)
{
    bool done[2] = { false, false };
    int i, ret;

    set_up();
    new_socketpair(pair->fd);
    for (i = 0; i < 2; i++) {
        pair->session[i] = open_end(pair->fd[i], i == 1, psk);
    }
    for (i = 0; !done[0] || !done[1]; i = !i) {
        if (!done[i]) {
            ret = gnutls_handshake(pair->session[i]);
            done[i] = ret == 0;
            check(gnutls_error_is_fatal(ret) ? ret : 0, "handshake");
        }
    }
}

void raw_close(RawPair *pair)
{
    int i;

    for (i = 0; i < 2; i++) {
        gnutls_bye(pair->session[i], GNUTLS_SHUT_WR);   /* the second may find nobody */
        gnutls_deinit(pair->session[i]);
        close(pair->fd[i]);
    }
}

void raw_send(RawPair *pair, int end, const void *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t ret = gnutls_record_send(pair->session[end], (const char *)data + done, len - done);

        check((int)ret, "send");
        done += (size_t)ret;
    }
}

void raw_recv(RawPair *pair, int end, void *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t ret = gnutls_record_recv(pair->session[end], (char *)data + done, len - done);

        check(ret == 0 ? GNUTLS_E_PREMATURE_TERMINATION : (int)ret, "receive");
        done += (size_t)ret;
    }
}

void raw_bulk(void *pair, uint64_t n)
{
    static char out[RAW_RECORD], in[RAW_RECORD];

    while (n--) {
        raw_send(pair, 0, out, sizeof(out));
        raw_recv(pair, 1, in, sizeof(in));
    }
}

void raw_pingpong(void *pair, uint64_t n)
{
    char message[64] = "";

    while (n--) {
        raw_send(pair, 0, message, sizeof(message));
        raw_recv(pair, 1, message, sizeof(message));
        raw_send(pair, 1, message, sizeof(message));
        raw_recv(pair, 0, message, sizeof(message));
    }
}

void raw_handshakes(void *psk, uint64_t n)
{
    RawPair pair;

    while (n--) {
        raw_open(&pair, *(bool *)psk);
        raw_close(&pair);
    }
}
