/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls/names.c: the names in a certificate beside its common name.
 *
 * Owns: a walk over the DER of a certificate (RFC 5280, 4.1) to its alternative names, without
 * taking all of it apart again, which costs a tenth of a handshake.  Rule: the bytes are a peer's;
 * what is not as it should be is "cannot be read", and never read past.  Any thread.
 */
#include "tls/tls-priv.h"

#include <string.h>

enum {
    DER_SEQUENCE = 0x30,
    DER_OID = 0x06,
    DER_BOOLEAN = 0x01,
    DER_OCTETS = 0x04,
    DER_EXTENSIONS = 0xa3,
    NAME_DNS = 0x82,
    NAME_ADDRESS = 0x87,
};

typedef struct Span {
    const uint8_t *at, *end;
} Span;

/* Takes the next element off the span.  Returns its tag, or -1. */
static int take_element(Span *from, Span *content)
{
    size_t left = (size_t)(from->end - from->at);
    size_t len, bytes;
    int tag;

    if (left < 2 || (from->at[0] & 0x1f) == 0x1f) {
        return -1;
    }
    tag = from->at[0];
    len = from->at[1];
    from->at += 2;
    left -= 2;
    if (len >= 0x80) {
        bytes = len & 0x7f;
        if (bytes == 0 || bytes > 3 || bytes > left) {
            return -1;
        }
        for (len = 0; bytes > 0; bytes--, left--) {
            len = len << 8 | *from->at++;
        }
    }
    if (len > left) {
        return -1;
    }
    content->at = from->at;
    content->end = from->at + len;
    from->at += len;
    return tag;
}

static bool enter_element(Span *span, int tag)
{
    Span content;

    if (take_element(span, &content) != tag) {
        return false;
    }
    *span = content;
    return true;
}

/* The extensions of a certificate.  Returns: 1, 0 when it has none, -1 */
static int find_extensions(const gnutls_datum_t *der, Span *extensions)
{
    Span at = { der->data, der->data + der->size };
    Span content;

    if (!enter_element(&at, DER_SEQUENCE) || !enter_element(&at, DER_SEQUENCE)) {
        return -1;
    }
    while (at.at < at.end) {
        int tag = take_element(&at, &content);

        if (tag < 0) {
            return -1;
        }
        if (tag == DER_EXTENSIONS) {
            *extensions = content;
            return enter_element(extensions, DER_SEQUENCE) ? 1 : -1;
        }
    }
    return 0;
}

/* The names in the extension, if it is that one.  Returns: 1, 0, -1 */
static int names_of_extension(Span extension, Span *names)
{
    static const uint8_t alternative_name[] = { 0x55, 0x1d, 0x11 };
    Span oid, value;
    int tag;

    if (take_element(&extension, &oid) != DER_OID) {
        return -1;
    }
    if (oid.end - oid.at != sizeof(alternative_name) ||
        memcmp(oid.at, alternative_name, sizeof(alternative_name)) != 0) {
        return 0;
    }
    tag = take_element(&extension, &value);
    if (tag == DER_BOOLEAN) {
        tag = take_element(&extension, &value);
    }
    *names = value;
    return tag == DER_OCTETS && enter_element(names, DER_SEQUENCE) ? 1 : -1;
}

static int find_names(const gnutls_datum_t *der, Span *names)
{
    Span extensions, extension;
    int found = find_extensions(der, &extensions);

    if (found <= 0) {
        return found;
    }
    while (extensions.at < extensions.end) {
        if (take_element(&extensions, &extension) != DER_SEQUENCE) {
            return -1;
        }
        found = names_of_extension(extension, names);
        if (found != 0) {
            return found;
        }
    }
    return 0;
}

int qio_tls_alternative_names(const gnutls_datum_t *der, const void *address, size_t address_len,
                              bool *has_dns, bool *has_address)
{
    Span names, name;
    int found = find_names(der, &names);

    *has_dns = *has_address = false;
    while (found > 0 && names.at < names.end) {
        int tag = take_element(&names, &name);

        if (tag < 0) {
            return -1;
        }
        *has_dns |= tag == NAME_DNS;
        *has_address |= tag == NAME_ADDRESS && address_len > 0 &&
                        (size_t)(name.end - name.at) == address_len &&
                        memcmp(name.at, address, address_len) == 0;
    }
    return found;
}
