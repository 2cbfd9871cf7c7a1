# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates and keys for the tests, made by certtool once for a session.

Owns: Pki, the folders and files of one session; the fixture `pki` of conftest.py gives it.  Every
folder has the layout that the key tls-dir takes: ca-cert.pem, server-cert.pem, server-key.pem,
client-cert.pem, client-key.pem.  Times are written out, so that nothing depends on the day.
"""

import os
import pathlib
import subprocess

PSK_USER = 'alice'
PSK_KEY = bytes(range(32))
PASSWORD = 'open sesame'
NAMES = ['localhost']
ADDRESSES = ['127.0.0.1', '::1']
LONG_AGO, LONG_FROM_NOW = '2001-01-01 00:00:00', '2099-01-01 00:00:00'


def certtool(*arguments):
    done = subprocess.run(['certtool', *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def new_key(path):
    certtool('--generate-privkey', '--key-type=ecdsa', '--curve=secp256r1', f'--outfile={path}')
    return path


def write_template(path, lines, begin=LONG_AGO, end=LONG_FROM_NOW):
    lines = [*lines, f'activation_date = "{begin}"', f'expiration_date = "{end}"']
    path.write_text('\n'.join(lines) + '\n')
    return path


class Authority:
    """A certificate authority with its key; `above` signs it, or it signs itself."""

    def __init__(self, folder, name, above=None):
        folder.mkdir()
        self.folder = folder
        self.cert = folder / 'ca-cert.pem'
        self.key = new_key(folder / 'ca-key.pem')
        template = write_template(folder / 'ca.cfg',
                                  [f'cn = "{name}"', 'ca', 'cert_signing_key', 'crl_signing_key'])
        how = ['--generate-self-signed']
        if above:
            how = ['--generate-certificate', f'--load-ca-certificate={above.cert}',
                   f'--load-ca-privkey={above.key}']
        certtool(*how, f'--load-privkey={self.key}', f'--template={template}',
                 f'--outfile={self.cert}')

    def issue(self, name, purpose, *, cn, alternatives=(), folder=None, end=LONG_FROM_NOW):
        """FOLDER/NAME-cert.pem and -key.pem; purpose: 'server' or 'client'."""
        folder = folder or self.folder
        cert, key = folder / f'{name}-cert.pem', new_key(folder / f'{name}-key.pem')
        template = write_template(
            folder / f'{name}.cfg',
            [f'cn = "{cn}"', f'tls_www_{purpose}', 'signing_key', *alternatives], end=end)
        certtool('--generate-certificate', f'--load-privkey={key}',
                 f'--load-ca-certificate={self.cert}', f'--load-ca-privkey={self.key}',
                 f'--template={template}', f'--outfile={cert}')
        return cert, key

    def issue_server(self, name='server', **more):
        alternatives = [f'dns_name = "{dns}"' for dns in NAMES]
        alternatives += [f'ip_address = "{address}"' for address in ADDRESSES]
        return self.issue(name, 'server', cn='localhost', alternatives=alternatives, **more)

    def issue_client(self, name='client', cn='a client', **more):
        return self.issue(name, 'client', cn=cn, **more)


class Pki:
    """Paths are pathlib.Path.

    dir         everything of one authority: a server and a client that trust each other
    ca_dir      its ca-cert.pem alone: a client without a certificate
    other_dir   the same names from an unrelated authority
    expired_dir, wrong_name_dir, chain_dir, revoked_dir
                dir with another server certificate: expired, of a stranger's name, below an
                intermediate authority (server-cert.pem holds both), and one that crl lists
    locked_key  server-key.pem, encrypted with PASSWORD
    psk_file    PSK_USER with PSK_KEY, as psktool and QEMU write it; psk_dir has it as keys.psk
    """

    def __init__(self, root):
        self.root = pathlib.Path(root)
        authority = Authority(self.root / 'main', 'Authority of the tests')
        authority.issue_server()
        authority.issue_client()
        self.authority = authority
        self.dir = authority.folder
        self.ca, self.ca_key = authority.cert, authority.key
        self.server_cert, self.server_key = self.dir / 'server-cert.pem', self.dir / 'server-key.pem'
        self.client_cert, self.client_key = self.dir / 'client-cert.pem', self.dir / 'client-key.pem'
        self.ca_dir = self._folder('ca-only', client=False)
        self._make_other()
        self._make_servers()
        self._make_chain()
        self._make_crl()
        self._make_keys()

    def _folder(self, name, client=True):
        folder = self.root / name
        folder.mkdir()
        for file in ['ca-cert.pem'] + ['client-cert.pem', 'client-key.pem'] * client:
            os.link(self.dir / file, folder / file)
        return folder

    def _make_other(self):
        other = Authority(self.root / 'other', 'An unrelated authority')
        other.issue_server()
        other.issue_client(cn='a stranger')
        self.other_dir = other.folder

    def _make_servers(self):
        self.expired_dir = self._folder('expired')
        self.authority.issue_server(folder=self.expired_dir, end='2002-01-01 00:00:00')
        self.wrong_name_dir = self._folder('wrong-name')
        self.authority.issue('server', 'server', cn='elsewhere.example',
                             alternatives=['dns_name = "elsewhere.example"'],
                             folder=self.wrong_name_dir)

    def _make_chain(self):
        self.chain_dir = self._folder('chain')
        middle = Authority(self.root / 'middle', 'Intermediate authority', above=self.authority)
        self.middle_cert = middle.cert
        cert, _ = middle.issue_server(folder=self.chain_dir)
        cert.write_bytes(cert.read_bytes() + middle.cert.read_bytes())

    def _make_crl(self):
        self.revoked_dir = self._folder('revoked')
        cert, _ = self.authority.issue_server(folder=self.revoked_dir)
        template = self.root / 'crl.cfg'
        template.write_text(f'crl_this_update_date = "{LONG_AGO}"\n'
                            f'crl_next_update_date = "{LONG_FROM_NOW}"\ncrl_number = 1\n'
                            f'revocation_date = "{LONG_AGO}"\n')
        self.crl = self.root / 'ca-crl.pem'
        certtool('--generate-crl', f'--load-certificate={cert}', f'--template={template}',
                 f'--load-ca-certificate={self.ca}', f'--load-ca-privkey={self.ca_key}',
                 f'--outfile={self.crl}')

    def _make_keys(self):
        self.locked_key = self.root / 'locked-key.pem'
        certtool('--to-p8', f'--load-privkey={self.server_key}', f'--password={PASSWORD}',
                 '--pkcs-cipher=aes-256', f'--outfile={self.locked_key}')
        self.psk_dir = self.root / 'psk'
        self.psk_dir.mkdir()
        self.psk_file = self.psk_dir / 'keys.psk'
        self.psk_file.write_text(f'{PSK_USER}:{PSK_KEY.hex()}\n')
        self.psk_file.chmod(0o600)
