# SPDX-License-Identifier: LGPL-2.1-or-later
"""The QMP client of examples/ against servers that are written here, mostly bad ones."""

import json
import os
import pathlib
import sys
import threading

import pytest

import qio

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / 'examples'))

from qmp import QMP, CommandError, ProtocolError  # noqa: E402

HELLO = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
NEGOTIATED = HELLO + b'{"return": {}, "id": 1}\r\n'


@pytest.fixture
def pair():
    ours, theirs = qio.pair()
    with ours, theirs:
        yield ours, theirs


def negotiated(pair, **keys):
    """A client that thinks all is well so far; it takes the channel, which the pair closes too."""
    pair[1].write_all(NEGOTIATED)
    qmp = QMP(pair[0], timeout=20, **keys)
    assert json.loads(pair[1].readline(timeout=20)) == {'execute': 'qmp_capabilities', 'id': 1}
    return qmp


BAD_GREETINGS = {
    'nothing': (b'', 'closed the connection between two lines'),
    'middle of a line': (HELLO[:20], 'in the middle of a line: "{\\"QMP'),
    'no JSON': (b'SSH-2.0-x\x1b[31m\r\n', r'not JSON: "SSH-2.0-x\\x1b[31m'),
    'not UTF-8': (b'{"QMP": "\xff"}\n', 'not JSON'),
    'deep': (b'[' * 100_000 + b'\n', 'not JSON'),
    'no object': (b'[1, 2]\n', 'not a JSON object'),
    'empty line': (b'\n', 'not JSON'),
    'no greeting': (b'{"return": {}}\n', 'does not greet'),
    'greeting of another type': (b'{"QMP": 7}\n', 'does not greet'),
    'no reply': (HELLO, 'closed the connection between two lines'),
    'reply without id': (HELLO + b'{"return": {}}\n', 'neither an event nor a reply'),
    'neither return nor error': (HELLO + b'{"id": 1}\n', 'neither "return" nor "error"'),
    'error of another type': (HELLO + b'{"error": "x", "id": 1}\n', 'neither "return" nor "error"'),
}


@pytest.mark.parametrize('name', BAD_GREETINGS)
def test_qmp_bad_greeting(name, pair):
    answer, message = BAD_GREETINGS[name]
    writer = threading.Thread(target=lambda: (pair[1].write_all(answer, timeout=20),
                                              pair[1].send_eof()))
    writer.start()
    with pytest.raises(ProtocolError) as caught:
        QMP(pair[0], timeout=20)
    writer.join(20)
    assert message.replace('\\"', '"').replace('\\\\', '\\') in str(caught.value)
    assert pair[0].closed, 'a failed negotiation closes the channel'


def test_qmp_refused_negotiation(pair):
    pair[1].write_all(HELLO + b'{"error": {"class": "GenericError", "desc": "no"}, "id": 1}\r\n')
    with pytest.raises(CommandError) as caught:
        QMP(pair[0], timeout=20)
    assert (caught.value.error_class, caught.value.desc) == ('GenericError', 'no')


def test_qmp_line_that_never_ends_is_bounded(pair):
    qmp = negotiated(pair, line_limit=4096)
    pair[1].write_all(b'{"return": "' + b'x' * 5000)
    with pytest.raises(ProtocolError, match='a line of more than 4096 bytes'):
        qmp.execute('query-version')


def test_qmp_line_below_the_limit_comes_whole(pair):
    qmp = negotiated(pair, line_limit=4096)
    reply = b'{"id": 2, "return": "' + b'x' * 4000 + b'"}\n'
    pair[1].write_all(reply)
    assert qmp.execute('query-version') == 'x' * 4000


def test_qmp_time_out_loses_nothing(pair):
    """The late reply is dropped, the next command gets its own."""
    qmp = negotiated(pair)
    pair[1].write_all(b'{"return": "la')
    with pytest.raises(qio.TimeoutError):
        qmp.execute('slow', timeout=0.01)
    pair[1].write_all(b'te", "id": 2}\n{"return": "in time", "id": 3}\n')
    assert qmp.execute('fast') == 'in time'


def test_qmp_time_out_of_a_send_cuts_no_message(pair):
    """A server that does not read for a while gets whole messages all the same."""
    qmp = negotiated(pair)
    for _ in range(2):                  # the second does not even get as far as its own bytes
        with pytest.raises(qio.TimeoutError):
            qmp.execute('large', {'text': 'x' * 4_000_000}, timeout=0.05)
    lines = []
    reader = threading.Thread(
        target=lambda: lines.extend(pair[1].readline(timeout=20) for _ in range(2)))
    reader.start()
    pair[1].write_all(b'{"return": "late", "id": 2}\n{"return": 4, "id": 4}\n')
    assert qmp.execute('small') == 4
    reader.join(20)
    assert [json.loads(line)['id'] for line in lines] == [2, 4]
    assert len(lines[0]) > 4_000_000


def test_qmp_events(pair):
    qmp = negotiated(pair)
    for number in range(3):
        pair[1].write_all(b'{"event": "E%d", "data": {}}\n' % number)
    pair[1].write_all(b'{"return": [], "id": 2}\n{"event": "LAST"}\n')
    assert qmp.execute('query') == []
    assert [event['event'] for event in qmp.events] == ['E0', 'E1', 'E2']
    assert qmp.wait_event('E1')['event'] == 'E1'
    assert qmp.wait_event('LAST', timeout=20)['event'] == 'LAST'
    assert [event['event'] for event in qmp.events] == ['E0', 'E2']
    with pytest.raises(qio.TimeoutError):
        qmp.wait_event('E1', timeout=0.01)


def test_qmp_events_are_bounded(pair, monkeypatch):
    monkeypatch.setattr('qmp.EVENT_LIMIT', 5)
    qmp = negotiated(pair)
    pair[1].write_all(b'{"event": "E"}\n' * 6)
    with pytest.raises(ProtocolError, match='5 events wait'):
        qmp.execute('query')


@pytest.mark.parametrize('number', [b'99', b'"2"', b'null', b'[2]', b'true'])
def test_qmp_reply_to_nothing(pair, number):
    qmp = negotiated(pair)
    pair[1].write_all(b'{"return": {}, "id": ' + number + b'}\n')
    with pytest.raises(ProtocolError, match='neither an event nor a reply'):
        qmp.execute('query')


def test_qmp_arguments_and_descriptors(pair):
    qmp = negotiated(pair)
    pair[1].write_all(b'{"return": {}, "id": 2}\n')
    with open(__file__, 'rb') as file:
        qmp.execute('getfd', {'fdname': 'n\N{SNOWMAN}'}, fds=[file])
        line, fds = pair[1].recv_fds(4096, timeout=20)
        with fds[0] as fd:
            assert os.fstat(fd.fileno()).st_ino == os.fstat(file.fileno()).st_ino
    assert json.loads(line) == {'execute': 'getfd', 'id': 2,
                                'arguments': {'fdname': 'n\N{SNOWMAN}'}}
    assert len(fds) == 1 and line.endswith(b'\n') and line.isascii()


def test_qmp_connect_and_close(tmp_path):
    with qio.listen(f'unix:{tmp_path}/qmp') as listener:
        def serve():
            with listener.accept(timeout=20) as client:
                client.write_all(NEGOTIATED)
                while client.read_some(timeout=20):
                    pass

        server = threading.Thread(target=serve)
        server.start()
        with QMP.connect(listener.address, timeout=20) as qmp:
            assert qmp.greeting == {'version': {}, 'capabilities': []}
        server.join(20)
        assert qmp.channel.closed
    with pytest.raises(qio.Error):
        QMP.connect(f'unix:{tmp_path}/qmp')
