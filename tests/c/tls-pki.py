#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates and keys for the C tests of TLS: tls-pki.py FOLDER STAMP.

Owns: the folders good, other, chain, ... in FOLDER, each in the layout of the key tls-dir, made by
certtool when the tests are built.  Times are written out, so that nothing depends on the day.
"""

import pathlib
import shutil
import subprocess
import sys

PAST, FUTURE = ('2001-01-01 00:00:00', '2002-01-01 00:00:00'), ('2090-01-01 00:00:00',
                                                                 '2099-01-01 00:00:00')
ALWAYS = ('2001-01-01 00:00:00', '2099-01-01 00:00:00')


def certtool(*arguments):
    done = subprocess.run(['certtool', *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f'certtool {arguments}: {done.stderr}')


class Maker:
    def __init__(self, root):
        self.root = root
        self.count = 0

    def key(self, path, kind=('--key-type=ecdsa', '--curve=secp256r1')):
        certtool('--generate-privkey', *kind, f'--outfile={path}')
        return path

    def _template(self, lines, times):
        self.count += 1
        path = self.root / 'templates' / f'{self.count}.cfg'
        path.parent.mkdir(exist_ok=True)
        path.write_text('\n'.join([*lines, f'activation_date = "{times[0]}"',
                                   f'expiration_date = "{times[1]}"']) + '\n')
        return path

    def cert(self, path, key, lines, issuer=None, times=ALWAYS, extra=()):
        """issuer: (certificate, key); None signs itself."""
        how = ['--generate-self-signed']
        if issuer:
            how = ['--generate-certificate', f'--load-ca-certificate={issuer[0]}',
                   f'--load-ca-privkey={issuer[1]}']
        certtool(*how, f'--load-privkey={key}', f'--template={self._template(lines, times)}',
                 f'--outfile={path}', *extra)
        return path, key

    def crl(self, path, issuer, certificate):
        template = self.root / 'templates' / 'crl.cfg'
        template.write_text(f'crl_this_update_date = "{PAST[0]}"\n'
                            f'crl_next_update_date = "{ALWAYS[1]}"\ncrl_number = 1\n'
                            f'revocation_date = "{PAST[0]}"\n')
        certtool('--generate-crl', f'--load-certificate={certificate}', f'--template={template}',
                 f'--load-ca-certificate={issuer[0]}', f'--load-ca-privkey={issuer[1]}',
                 f'--outfile={path}')


CA = ['ca', 'cert_signing_key', 'crl_signing_key']
SERVER = ['cn = "server.example"', 'organization = "Tests"', 'tls_www_server', 'signing_key',
          'dns_name = "server.example"', 'dns_name = "*.wild.example"', 'ip_address = "127.0.0.1"',
          'ip_address = "::1"']
CLIENT = ['cn = "a client"', 'organization = "Tests"', 'country = "XX"', 'tls_www_client',
          'signing_key']


def make_folder(maker, name, ca=None):
    folder = maker.root / name
    folder.mkdir()
    ca = ca or maker.cert(folder / 'ca-cert.pem', maker.key(folder / 'ca-key.pem'),
                          [f'cn = "Authority {name}"', *CA])
    for end, lines in ('server', SERVER), ('client', CLIENT):
        maker.cert(folder / f'{end}-cert.pem', maker.key(folder / f'{end}-key.pem'), lines, ca)
    if not (folder / 'ca-cert.pem').exists():
        shutil.copy(ca[0], folder / 'ca-cert.pem')
    return ca


def main():
    root = pathlib.Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    maker = Maker(root)
    make_folder(maker, 'good')
    make_folder(maker, 'other')
    (root / 'keys.psk').write_text('alice:' + '0123456789abcdef' * 4 + '\nqio:' + '42' * 32 + '\n')
    pathlib.Path(sys.argv[2]).write_text('made\n')


main()
