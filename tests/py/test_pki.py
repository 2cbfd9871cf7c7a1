# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test certificates are what they are said to be, as another TLS library sees them."""

import ssl

import pytest

import pki as made


def handshake(server_dir, client, hostname='localhost'):
    """Both ends in memory, a few turns of each."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(server_dir / 'server-cert.pem', server_dir / 'server-key.pem')
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(to_server, to_client, server_side=True),
            client.wrap_bio(to_client, to_server, server_hostname=hostname)]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass


def trusting(cafile):
    return ssl.create_default_context(cafile=cafile)


@pytest.mark.parametrize('hostname', made.NAMES + made.ADDRESSES)
def test_good(pki, hostname):
    handshake(pki.dir, trusting(pki.ca_dir / 'ca-cert.pem'), hostname)
    handshake(pki.chain_dir, trusting(pki.ca), hostname)


@pytest.mark.parametrize(('folder', 'why'), [
    ('other_dir', 'unable to get local issuer|self-signed'), ('expired_dir', 'expired'),
    ('wrong_name_dir', 'Hostname mismatch')])
def test_bad(pki, folder, why):
    with pytest.raises(ssl.SSLCertVerificationError, match=why):
        handshake(getattr(pki, folder), trusting(pki.ca))


def test_revoked(pki):
    client = trusting(pki.ca)
    handshake(pki.revoked_dir, client)
    client.load_verify_locations(pki.crl)
    client.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    handshake(pki.dir, client)
    with pytest.raises(ssl.SSLCertVerificationError, match='revoked'):
        handshake(pki.revoked_dir, client)


def test_locked_key(pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server_cert, pki.locked_key, made.PASSWORD)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(pki.server_cert, pki.locked_key, 'wrong')
