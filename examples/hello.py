# SPDX-License-Identifier: LGPL-2.1-or-later
import qio

# A program is a channel, as a socket or a file is: write its input, read its output.
with qio.command(['tr', 'a-z', 'A-Z']) as tr:
    tr.write(b'hello from python\n')
    tr.send_eof()
    print(tr.readline(timeout=5).decode(), end='')
