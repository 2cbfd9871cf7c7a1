#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates and keys for the C tests of TLS: tls-pki.py FOLDER STAMP.

Owns: in FOLDER the folders good, other, ed (each in the layout of the key tls-dir); cases/NAME-ROLE,
one for each odd certificate, and cases.txt, which says what has to be found of each; hosts.txt and
hosts/N for names.  Made by certtool when the tests are built.  Times are written out, so that nothing
depends on the day.

A line of cases.txt: NAME ROLE OWN PEER.  ROLE has the certificate (server, client); OWN is what its
own look at it finds when it is read, PEER what the other end finds in a handshake: ok, alert (the
certificate is fine, and TLS cannot use it), or a QIOTlsFault in short.
"""

import pathlib
import shutil
import subprocess
import sys

PAST, FUTURE = ('2001-01-01 00:00:00', '2002-01-01 00:00:00'), ('2090-01-01 00:00:00',
                                                                 '2099-01-01 00:00:00')
ALWAYS = ('2001-01-01 00:00:00', '2099-01-01 00:00:00')
P256 = ('--key-type=ecdsa', '--curve=secp256r1')
ED = ('--key-type=ed25519',)
CA = ['ca', 'cert_signing_key', 'crl_signing_key']
SERVER = ['cn = "server.example"', 'organization = "Tests"', 'dns_name = "server.example"']
CLIENT = ['cn = "a client"', 'organization = "Tests"', 'country = "XX"']
SIGN = 'signing_key'
# Extensions that certtool gives to authorities only, or not at all, in DER.
USAGE_CERT_SIGN = 'add_critical_extension = "2.5.29.15 0x03020204"'
USAGE_ENCIPHER = 'add_critical_extension = "2.5.29.15 0x03020520"'
USAGE_CRL_SIGN = 'add_critical_extension = "2.5.29.15 0x03020102"'
MAIL_NAME = 'add_extension = "2.5.29.17 0x3011810f6f6e65406f6e652e6578616d706c65"'


def run(*command):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f'{command}: {done.stderr}')


class Maker:
    def __init__(self, root):
        self.root = root
        self.count = 0
        (root / 'templates').mkdir(parents=True)

    def key(self, path, kind=P256):
        run('certtool', '--generate-privkey', *kind, f'--outfile={path}')
        return path

    def _template(self, lines, times):
        self.count += 1
        path = self.root / 'templates' / f'{self.count}.cfg'
        path.write_text('\n'.join([*lines, f'activation_date = "{times[0]}"',
                                   f'expiration_date = "{times[1]}"']) + '\n')
        return path

    def cert(self, path, key, lines, issuer=None, times=ALWAYS, extra=()):
        """issuer: (certificate, key); None signs itself.  Gives (certificate, key)."""
        how = ['--generate-self-signed']
        if issuer:
            how = ['--generate-certificate', f'--load-ca-certificate={issuer[0]}',
                   f'--load-ca-privkey={issuer[1]}']
        run('certtool', *how, f'--load-privkey={key}',
            f'--template={self._template(lines, times)}', f'--outfile={path}', *extra)
        return path, key

    def authority(self, folder, name, lines=None, issuer=None, **more):
        return self.cert(folder / f'{name}.pem', self.key(folder / f'{name}-key.pem'),
                         [f'cn = "{name} of {folder.name}"', *(CA if lines is None else lines)],
                         issuer, **more)

    def crl(self, path, issuer, certificate):
        template = self.root / 'templates' / 'crl.cfg'
        template.write_text(f'crl_this_update_date = "{PAST[0]}"\n'
                            f'crl_next_update_date = "{ALWAYS[1]}"\ncrl_number = 1\n'
                            f'revocation_date = "{PAST[0]}"\n')
        run('certtool', '--generate-crl', f'--load-certificate={certificate}',
            f'--template={template}', f'--load-ca-certificate={issuer[0]}',
            f'--load-ca-privkey={issuer[1]}', f'--outfile={path}')

    def folder(self, name, kind=P256):
        """Both ends of one authority."""
        folder = self.root / name
        folder.mkdir(parents=True)
        ca = self.authority(folder, 'ca-cert')
        server = [*SERVER, 'dns_name = "*.wild.example"', 'ip_address = "127.0.0.1"',
                  'ip_address = "::1"']
        for role, lines in ('server', server), ('client', CLIENT):
            self.cert(folder / f'{role}-cert.pem', self.key(folder / f'{role}-key.pem', kind),
                      [*lines, f'tls_www_{role}', SIGN], ca)
        return ca


class Case:
    """One certificate of one role, below the authority of `good`."""

    def __init__(self, maker, ca, name, role):
        self.maker, self.ca, self.role = maker, ca, role
        self.folder = maker.root / 'cases' / f'{name}-{role}'
        self.folder.mkdir(parents=True)
        shutil.copy(ca[0], self.folder / 'ca-cert.pem')
        self.names = SERVER if role == 'server' else CLIENT
        self.purpose = f'tls_www_{role}'
        # Beside the word, which adds a key usage, the purpose alone.
        self.bare_purpose = f'key_purpose_oid = "1.3.6.1.5.5.7.3.{1 if role == "server" else 2}"'
        self.wrong_purpose = 'tls_www_client' if role == 'server' else 'tls_www_server'

    def leaf(self, lines=None, issuer='ca', kind=P256, **more):
        lines = [self.purpose, SIGN] if lines is None else lines
        return self.maker.cert(self.folder / f'{self.role}-cert.pem',
                               self.maker.key(self.folder / f'{self.role}-key.pem', kind),
                               [*self.names, *lines], self.ca if issuer == 'ca' else issuer,
                               **more)

    def chain(self, *middles, send=True, lines=None):
        """A leaf below authorities (each: keyword arguments), which the leaf's file holds too."""
        issuer, held = self.ca, []
        for number, more in enumerate(middles):
            issuer = self.maker.authority(self.folder, f'middle{number}', issuer=issuer, **more)
            held.insert(0, issuer[0])
        leaf, _ = self.leaf(lines=lines, issuer=issuer)
        if send:
            leaf.write_text(''.join(path.read_text() for path in [leaf, *held]))


def revoke(case):
    leaf, _ = case.leaf()
    case.maker.crl(case.folder / 'ca-crl.pem', case.ca, leaf)


def revoke_another(case):
    case.maker.crl(case.folder / 'ca-crl.pem', case.ca, case.leaf()[0])
    case.leaf()


def unrelated(case):
    case.leaf(issuer=case.maker.authority(case.folder, 'stranger'))


RSA1024 = ('--key-type=rsa', '--bits=1024')
RSA2048 = ('--key-type=rsa', '--bits=2048')

# With a key on a curve certtool always adds a key usage.
# name: (how, what the own look finds, what the peer finds)
CASES = {
    'good': (lambda c: c.leaf(), 'ok', 'ok'),
    'no-usage': (lambda c: c.leaf([c.bare_purpose], kind=RSA2048), 'ok', 'ok'),
    'no-purpose': (lambda c: c.leaf([SIGN]), 'ok', 'ok'),
    'neither': (lambda c: c.leaf([], kind=RSA2048), 'ok', 'ok'),
    'any-purpose': (lambda c: c.leaf(['key_purpose_oid = "2.5.29.37.0"', SIGN]), 'ok', 'ok'),
    'both-purposes': (lambda c: c.leaf(['tls_www_server', 'tls_www_client', SIGN]), 'ok', 'ok'),
    'wrong-purpose': (lambda c: c.leaf([c.wrong_purpose, SIGN]), 'usage', 'usage'),
    'code-purpose': (lambda c: c.leaf(['code_signing_key', SIGN]), 'usage', 'usage'),
    'email-purpose': (lambda c: c.leaf(['email_protection_key', SIGN]), 'usage', 'usage'),
    'ca-usage': (lambda c: c.leaf([c.bare_purpose, USAGE_CERT_SIGN], kind=RSA2048), 'usage', 'alert/missing'),
    'crl-usage': (lambda c: c.leaf([c.bare_purpose, USAGE_CRL_SIGN], kind=RSA2048), 'usage', 'alert/missing'),
    'ca-as-leaf': (lambda c: c.leaf([c.purpose, SIGN, *CA]), 'usage', 'ok'),
    'expired': (lambda c: c.leaf(times=PAST), 'expired', 'expired'),
    'not-yet': (lambda c: c.leaf(times=FUTURE), 'not-yet', 'not-yet'),
    # A client sends none that the server, which names its authorities, would not take.
    'self-signed': (lambda c: c.leaf(issuer=None), 'ok', 'untrusted/missing'),
    'unrelated': (unrelated, 'ok', 'untrusted/missing'),
    'revoked': (revoke, 'ok', 'revoked'),
    'not-revoked': (revoke_another, 'ok', 'ok'),
    'chain-2': (lambda c: c.chain({}), 'ok', 'ok'),
    'chain-3': (lambda c: c.chain({}, {}), 'ok', 'ok'),
    'chain-4': (lambda c: c.chain({}, {}, {}), 'ok', 'ok'),
    'chain-gap': (lambda c: c.chain({}, send=False), 'ok', 'untrusted/missing'),
    'chain-expired': (lambda c: c.chain({'times': PAST}), 'expired', 'expired'),
    'chain-not-yet': (lambda c: c.chain({'times': FUTURE}), 'not-yet', 'not-yet'),
    'chain-not-ca': (lambda c: c.chain({'lines': [SIGN]}), 'usage', 'untrusted'),
    'chain-no-sign': (lambda c: c.chain({'lines': ['ca', SIGN]}), 'usage', 'usage'),
    'chain-path-length': (lambda c: c.chain({'lines': [*CA, 'path_len = 0']}, {}), 'ok', 'usage'),
    'chain-path-length-fits': (lambda c: c.chain({'lines': [*CA, 'path_len = 1']}, {}), 'ok',
                               'ok'),
    'rsa-1024': (lambda c: c.leaf(kind=RSA1024), 'ok', 'weak'),
    'rsa-2048': (lambda c: c.leaf(kind=RSA2048), 'ok', 'ok'),
    'rsa-pss': (lambda c: c.leaf(kind=('--key-type=rsa-pss', '--bits=2048')), 'ok', 'ok'),
    'rsa-encipher': (lambda c: c.leaf([c.bare_purpose, USAGE_ENCIPHER], kind=RSA2048), 'ok', 'ok/missing'),
    'p384': (lambda c: c.leaf(kind=('--key-type=ecdsa', '--curve=secp384r1')), 'ok', 'ok'),
    'ed25519': (lambda c: c.leaf(kind=ED), 'ok', 'ok'),
    'sha1': (lambda c: c.leaf(extra=('--hash=SHA1',)), 'ok', 'weak'),
    'sha512': (lambda c: c.leaf(extra=('--hash=SHA512',)), 'ok', 'ok'),
    'unknown-critical': (lambda c: c.leaf([c.purpose, SIGN,
                                           'add_critical_extension = "1.2.3.4 0x0500"']),
                         'ok', 'bad'),
    'unknown-extension': (lambda c: c.leaf([c.purpose, SIGN, 'add_extension = "1.2.3.4 0x0500"']),
                          'ok', 'ok'),
}

# What is wrong with an authority that is trusted: (how, what is found when it is read)
AUTHORITIES = {
    'good': (CA, ALWAYS, 'ok'),
    'no-usage': (['ca'], ALWAYS, 'ok'),
    'sign-only': (['ca', 'cert_signing_key'], ALWAYS, 'ok'),
    'all-usages': ([*CA, SIGN, 'encryption_key'], ALWAYS, 'ok'),
    'no-sign': (['ca', SIGN], ALWAYS, 'usage'),
    'crl-only': (['ca', 'crl_signing_key'], ALWAYS, 'usage'),
    'not-ca': (['cert_signing_key'], ALWAYS, 'usage'),
    'expired': (CA, PAST, 'expired'),
    'not-yet': (CA, FUTURE, 'not-yet'),
}

# Names in a certificate, and hosts: + is one that it is of, - one that it is not of.
HOSTS = [
    (['cn = "one.example"'], '+one.example +ONE.example +one.example. -two.example -127.0.0.1'),
    (['cn = "one.example"', 'dns_name = "two.example"'], '-one.example +two.example'),
    (['cn = "one.example"', MAIL_NAME], '-one.example'),
    (['cn = "one.example"', 'uri = "https://one.example"'], '-one.example'),
    (['cn = "one.example"', 'ip_address = "192.0.2.1"'], '-one.example +192.0.2.1 -192.0.2.2'),
    (['cn = "127.0.0.1"'], '-127.0.0.1'),
    (['cn = "x"', 'dns_name = "127.0.0.1"'], '-127.0.0.1'),
    (['cn = "x"', 'ip_address = "127.0.0.1"', 'ip_address = "2001:db8::1"'],
     '+127.0.0.1 +2001:db8::1 +[2001:db8::1] +2001:0db8:0:0::1 -2001:db8::2 -::1 -x -127.1 '
     '-2130706433 -0x7f000001'),
    (['cn = "x"', 'dns_name = "*.wild.example"'],
     '+a.wild.example +A.WILD.example -wild.example -a.b.wild.example -awild.example'),
    (['cn = "*.wild.example"'], '+a.wild.example -wild.example'),
    (['cn = "x"', 'dns_name = "*.example"'], '-example -a.b.example'),
    (['cn = "x"', 'dns_name = "*"'], '-example -a.example'),
    (['cn = "x"', 'dns_name = "a*.example"'], '-b.example'),
    (['cn = "x"', 'dns_name = "one.example"', 'dns_name = "two.example"'],
     '+one.example +two.example -three.example -example -xone.example -one.example.org'),
    (['cn = "x"', 'dns_name = "xn--bcher-kva.example"'], '+xn--bcher-kva.example -bucher.example'),
]


def make_cases(maker, ca):
    lines = []
    for name, (how, own, peer) in CASES.items():
        for role in 'server', 'client':
            how(Case(maker, ca, name, role))
            found = peer.split('/')[-1 if role == 'client' else 0]
            lines.append(f'{name} {role} {own} {found}\n')
    (maker.root / 'cases.txt').write_text(''.join(lines))


def make_authorities(maker):
    folder = maker.root / 'authorities'
    folder.mkdir()
    lines = []
    for name, (usage, times, found) in AUTHORITIES.items():
        maker.authority(folder, name, lines=usage, times=times)
        lines.append(f'{name} {found}\n')
    bundle = [(folder / f'{name}.pem').read_text() for name in ('expired', 'no-sign', 'good')]
    (folder / 'bundle.pem').write_text(''.join(bundle))
    (folder / 'old-bundle.pem').write_text(''.join(bundle[:2]))
    lines += ['bundle ok\n', 'old-bundle expired\n']
    (maker.root / 'authorities.txt').write_text(''.join(lines))


def make_hosts(maker, ca):
    key = maker.key(maker.root / 'hosts-key.pem')
    lines = []
    for number, (names, hosts) in enumerate(HOSTS):
        folder = maker.root / 'hosts' / str(number)
        folder.mkdir(parents=True)
        shutil.copy(ca[0], folder / 'ca-cert.pem')
        shutil.copy(key, folder / 'server-key.pem')
        maker.cert(folder / 'server-cert.pem', key, [*names, 'tls_www_server', SIGN], ca)
        lines.append(f'{number} {hosts}\n')
    (maker.root / 'hosts.txt').write_text(''.join(lines))


def make_odd_files(maker):
    root = maker.root
    (root / 'keys.psk').write_text('# a comment\n\nalice:' + '0123456789abcdef' * 4 +
                                   '\nqio:' + '42' * 32 + '\r\nwith:colon:' + '43' * 32 + '\n')
    (root / 'empty.pem').write_text('')
    (root / 'garbage.pem').write_text('-----BEGIN CERTIFICATE-----\nnonsense\n'
                                      '-----END CERTIFICATE-----\n')
    run('certtool', '--to-p8', f'--load-privkey={root}/good/server-key.pem',
        '--password=open sesame', '--pkcs-cipher=aes-256', f'--outfile={root}/locked-key.pem')


def main():
    root = pathlib.Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    maker = Maker(root)
    ca = maker.folder('good')
    maker.folder('other')
    maker.folder('ed', ED)
    make_cases(maker, ca)
    make_authorities(maker)
    make_hosts(maker, ca)
    make_odd_files(maker)
    pathlib.Path(sys.argv[2]).write_text('made\n')


main()
