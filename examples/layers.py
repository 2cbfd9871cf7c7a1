# SPDX-License-Identifier: LGPL-2.1-or-later
import threading

import qio

# A WebSocket inside TLS on a unix socket, by its URI; both ends know the key.
KEY = b'correct horse battery'
server = qio.TLSCreds.psk(lookup=lambda user: KEY if user == 'me' else None, server=True)
client = qio.TLSCreds.psk(user='me', key=KEY)


def shout(listener):
    with listener.accept() as channel:
        for message in channel:
            channel.send(message.upper())


with qio.listen('ws+tls+unix:', tls=server, ws_mode='messages') as listener:
    threading.Thread(target=shout, args=[listener]).start()
    with qio.connect(listener.address, tls=client, ws_mode='messages', timeout=5) as ws:
        ws.send('hello over ' + ws.tls.version)
        print(ws.recv())
