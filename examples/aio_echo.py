# SPDX-License-Identifier: LGPL-2.1-or-later
import asyncio

import qio
import qio.aio

# A server of lines that goes over to TLS in place, as SMTP does, with the first bytes of TLS in the
# same segment as the command: what was read ahead of the upgrade is TLS input, nothing is lost.
KEY = b'correct horse battery'
SERVER = qio.TLSCreds.psk(lookup=lambda user: KEY if user == 'me' else None, server=True)
CLIENT = qio.TLSCreds.psk(user='me', key=KEY)


async def serve(channel):
    async for line in channel:
        if line == b'STARTTLS\n':
            async with await channel.start_tls(SERVER, server=True) as secure:
                await serve(secure)
            return
        await channel.write(b'%s over %s\n' % (line.strip(), channel.kind.encode()))


async def talk(address, word):
    async with await qio.aio.connect(address) as channel:
        await channel.write(word + b'\n')
        print((await channel.readline()).decode().strip())
        await channel.write(b'STARTTLS\n')
        secure = await channel.start_tls(CLIENT)
        async with secure, asyncio.timeout(5):
            # Concurrent writes go out whole, one after the other.
            await asyncio.gather(*(secure.write(word + b' %d\n' % i) for i in range(2)))
            for _ in range(2):
                print((await secure.readline()).decode().strip())


async def main():
    async with await qio.aio.start_server(serve, 'unix:') as server:
        await talk(server.address, b'hello')


asyncio.run(main())
