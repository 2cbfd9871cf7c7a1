# SPDX-License-Identifier: LGPL-2.1-or-later
"""WebSocket peers: python3-websockets and node-ws as server and client, websockify, and nginx and
haproxy as proxies in front of a server.

Owns: their command lines and configurations.  All inherit or make unix sockets, and the servers
take TCP sockets too.  ws_peer.py says what servers and clients do.
"""

from . import HERE, PATIENCE, PYTHON, Peer, listen_unix, run

PROGRAMS = {'websockets': ([PYTHON, HERE / 'ws_peer.py'], None),
            'node-ws': (['node', HERE / 'ws_peer.js'], {'NODE_PATH': '/usr/share/nodejs'})}
STEPS = ['text', 'binary', 'fragmented', 'bulk', 'ping', 'close', 'close-by-client', 'protocol']


class Server(Peer):
    """Of a socket that listens already; wss when it is given a certificate and its key."""

    def __init__(self, name, listener, cert=None, key=None):
        argv, env = PROGRAMS[name]
        fd = listener.fileno()
        super().__init__([*argv, 'serve', fd, *[cert, key] * bool(cert)], listener=listener, env=env)


def client(name, step, uri, ca=None, deflate=False):
    """Runs one step against a server and gives its output; it fails unless all was right."""
    argv, env = PROGRAMS[name]
    text = run(*argv, step, uri, *[ca] * bool(ca), *['--deflate'] * deflate, env=env)
    assert f'ok {step}' in text, text
    return text


class Websockify(Peer):
    """WebSocket clients at a socket that listens already, plain bytes at a unix socket."""

    def __init__(self, listener, target, cert=None, key=None):
        tls = [f'--cert={cert}', f'--key={key}', '--ssl-only'] if cert else []
        with listener:
            super().__init__(['websockify', '--inetd', *tls, f'--unix-target={target}'],
                             stdin=listener)


class Nginx(Peer):
    """Passes what comes at one unix socket on to another; with TLS when given a certificate."""

    def __init__(self, folder, path, target, cert=None, key=None):
        config = folder / 'nginx.conf'
        tls = (f'ssl_certificate {cert}; ssl_certificate_key {key}; '
               'ssl_protocols TLSv1.2 TLSv1.3;' if cert else '')
        temporary = ''.join(f'{name}_temp_path {folder}/nginx-{name};' for name in
                            ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
        config.write_text(f'''
            daemon off; master_process off; pid {folder}/nginx.pid;
            error_log stderr notice;
            events {{ }}
            http {{
                access_log off; {temporary}
                server {{
                    listen unix:{path}{' ssl' if cert else ''};
                    {tls}
                    location / {{
                        proxy_pass http://unix:{target}:;
                        proxy_http_version 1.1;
                        proxy_set_header Host $host;
                        proxy_set_header Upgrade $http_upgrade;
                        proxy_set_header Connection "upgrade";
                        proxy_read_timeout {PATIENCE}s;
                    }}
                }}
            }}''')
        super().__init__(['nginx', '-e', 'stderr', '-p', folder, '-c', config])

    def ready(self):
        self.wait_for('using the "epoll" event method')     # its sockets listen before that


class Haproxy(Peer):
    """As Nginx; it inherits the socket that listens."""

    def __init__(self, folder, path, target, cert=None, key=None):
        config, pem = folder / 'haproxy.cfg', folder / 'haproxy.pem'
        if cert:
            pem.write_bytes(cert.read_bytes() + key.read_bytes())
        listener = listen_unix(path)
        config.write_text(f'''
defaults
    mode http
    timeout connect {PATIENCE}s
    timeout client {PATIENCE}s
    timeout server {PATIENCE}s
    timeout tunnel {PATIENCE}s
frontend f
    bind fd@{listener.fileno()}{f' ssl crt {pem}' if cert else ''}
    default_backend b
backend b
    server s unix@{target}
''')
        super().__init__(['haproxy', '-db', '-f', config], listener=listener)


PROXIES = {'nginx': Nginx, 'haproxy': Haproxy}
