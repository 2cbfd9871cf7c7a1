# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keys and certificates for one run of the demo, made by certtool in a folder of the caller.

    keys = Keys(folder)
    qio.TLSCreds.x509(dir=keys.x509), qio.TLSCreds.psk(file=keys.psk_file, user=keys.user)

Owns: x509, a folder with the names that QEMU and the key tls-dir want: an authority, a server called
localhost, a client; psk, one with keys.psk, a line of user and key in hexadecimal.
"""

import base64
import hashlib
import os

import qio

PROGRAM = 'certtool'
TIMEOUT = 20


def certtool(*argv):
    """Runs it to its end, as a command channel; what it says is only of interest when it fails."""
    deadline = qio.Deadline(TIMEOUT)
    with qio.command([PROGRAM, *argv], stderr='merge') as command:
        command.send_eof()
        said = b''
        while data := command.read_some(timeout=deadline):
            said += data
        command.wait_exit(timeout=deadline)
    if command.returncode != 0:
        raise RuntimeError(f'{PROGRAM} {argv[0]}: {said.decode(errors="replace").strip()}')


class Keys:
    user = 'demo'

    def __init__(self, folder):
        self.x509 = os.path.join(folder, 'x509')
        self.psk = os.path.join(folder, 'psk')
        for path in (self.x509, self.psk):
            os.mkdir(path, 0o700)
        self._certificate('ca', ['cn = "The demo"', 'ca', 'cert_signing_key'])
        self._certificate('server', ['cn = "localhost"', 'dns_name = "localhost"',
                                     'tls_www_server', 'signing_key'])
        self._certificate('client', ['cn = "The client of the demo"', 'tls_www_client',
                                     'signing_key'])
        # Without this file QEMU thinks of a prime by itself, for seconds.
        certtool('--get-dh-params', '--sec-param=medium',
                 f'--outfile={self.file("dh-params.pem")}')
        self.psk_file = os.path.join(self.psk, 'keys.psk')
        with open(self.psk_file, 'w', encoding='ascii') as file:
            file.write(f'{self.user}:{os.urandom(32).hex()}\n')
        os.link(self.file('dh-params.pem'), os.path.join(self.psk, 'dh-params.pem'))

    def file(self, name):
        return os.path.join(self.x509, name)

    def _certificate(self, name, lines):
        """NAME-cert.pem and NAME-key.pem; the first, the authority, signs itself and the others."""
        key, cert, template = (self.file(name + end) for end in ('-key.pem', '-cert.pem', '.cfg'))
        certtool('--generate-privkey', '--key-type=ecdsa', '--curve=secp256r1',
                 f'--outfile={key}')
        with open(template, 'w', encoding='ascii') as file:
            file.write('\n'.join([*lines, 'expiration_days = 2', '']))
        how = ['--generate-self-signed'] if name == 'ca' else [
            '--generate-certificate', f'--load-ca-certificate={self.file("ca-cert.pem")}',
            f'--load-ca-privkey={self.file("ca-key.pem")}']
        certtool(*how, f'--load-privkey={key}', f'--template={template}', f'--outfile={cert}')

    def server_key_hash(self):
        """How a browser calls the server's key that it is to trust: SHA-256 of its public half."""
        public = self.file('server-public.der')
        certtool('--pubkey-info', f'--load-certificate={self.file("server-cert.pem")}',
                 '--outder', f'--outfile={public}')
        with open(public, 'rb') as file:
            return base64.b64encode(hashlib.sha256(file.read()).digest()).decode()
