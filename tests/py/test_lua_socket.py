# SPDX-License-Identifier: LGPL-2.1-or-later
"""LuaSocket's own modules, unmodified, over qio.compat.socket: socket.http, ltn12 and
socket.smtp against servers of Python's library, in the main chunk and in many tasks at once."""

import http.server
import pathlib
import socketserver
import subprocess
import threading

import pytest

from test_lua import LUAS, environment_of

PRELUDE = """
    local qio = require "qio"
    package.preload["socket"] = function() return require "qio.compat.socket" end
    package.preload["socket.core"] = function() error("LuaSocket's own core was asked for") end
    local port = tonumber(os.getenv "PORT")
    local base = "http://127.0.0.1:" .. port
"""


@pytest.fixture(autouse=True)
def luasocket():
    if not pathlib.Path('/usr/share/lua/5.4/socket/http.lua').exists():
        pytest.skip('not installed: lua-socket')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self, body, *headers, status=200, chunks=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if chunks is None:
            self.send_header('Content-Length', str(len(body)))
        else:
            self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for at in range(0, len(body), chunks or len(body) or 1):
            part = body[at:at + chunks] if chunks else body
            self.wfile.write(b'%x\r\n%b\r\n' % (len(part), part) if chunks else part)
        if chunks:
            self.wfile.write(b'0\r\n\r\n')

    def do_GET(self):
        if self.path == '/redirect':
            self.answer(b'', ('Location', '/hello'), status=302)
        elif self.path == '/chunked':
            self.answer(b'0123456789' * 5000, chunks=777)
        elif self.path == '/until-closed':
            self.close_connection = True
            self.wfile.write(b'HTTP/1.0 200 OK\r\n\r\n' + b'old style' * 1000)
        elif self.path.startswith('/wait/'):
            self.server.meeting.wait()
            self.answer(self.path.encode())
        elif self.path == '/silent':
            self.server.done.wait()
        else:
            self.answer(b'hello from ' + self.path.encode(), ('X-Name', 'value'))

    def do_POST(self):
        if self.headers.get('Transfer-Encoding') == 'chunked':
            body = b''
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers['Content-Length']))
        self.answer(body.upper())

    def log_message(self, format, *args):
        pass


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64             # its own, 5, refuses twenty at once


@pytest.fixture
def web():
    with Web(('127.0.0.1', 0), Handler) as server:
        server.meeting = threading.Barrier(20)
        server.done = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.done.set()
        server.shutdown()
        thread.join()


def run(lua, script, port):
    done = subprocess.run([lua, '-e', PRELUDE + script], capture_output=True, text=True,
                          timeout=50, stdin=subprocess.DEVNULL, check=False,
                          env=environment_of(lua, PORT=str(port)))
    assert (done.returncode, done.stderr) == (0, ''), done.stdout + done.stderr
    return done.stdout


HTTP = """
    local http, ltn12 = require "socket.http", require "ltn12"
    local function client()
      local body, status, headers = http.request(base .. "/hello")
      assert(body == "hello from /hello" and status == 200, status)
      assert(headers["x-name"] == "value")
      assert(http.request(base .. "/redirect") == "hello from /hello")
      assert(http.request(base .. "/chunked") == ("0123456789"):rep(5000))
      assert(http.request(base .. "/until-closed") == ("old style"):rep(1000))
      assert(http.request(base .. "/upper", "a body") == "A BODY")

      local parts = {}
      local text = ("some text "):rep(20000)
      local ok, code = http.request{
        url = base .. "/upper", method = "POST", source = ltn12.source.string(text),
        headers = { ["content-length"] = #text }, sink = ltn12.sink.table(parts),
      }
      assert(ok == 1 and code == 200, code)
      assert(table.concat(parts) == text:upper())
      parts = {}
      assert(http.request{                       -- without a length: chunked both ways
        url = base .. "/upper", method = "POST", source = ltn12.source.string(text),
        sink = ltn12.sink.table(parts),
      })
      assert(table.concat(parts) == text:upper())

      http.TIMEOUT = 0.02
      local nothing, why = http.request(base .. "/silent")
      http.TIMEOUT = 60
      assert(nothing == nil and why == "timeout", why)
      local closed = require("socket").bind("127.0.0.1", 0)
      local _, free = closed:getsockname()
      closed:close()
      nothing, why = http.request("http://127.0.0.1:" .. free)
      assert(nothing == nil and why == "connection refused", why)
    end
"""


def lua_cases(luas):
    return pytest.mark.parametrize(
        'lua', [pytest.param(lua, marks=pytest.mark.needs(lua)) for lua in luas])


@pytest.mark.timeout(60)
@lua_cases(LUAS)
def test_http_in_the_main_chunk(lua, web):
    assert run(lua, HTTP + 'client() print("fine")', web) == 'fine\n'


# Its protect is a pcall, through which plain 5.1 suspends no task.
@pytest.mark.timeout(60)
@lua_cases(lua for lua in LUAS if lua != 'lua5.1')
def test_http_in_a_task(lua, web):
    assert run(lua, HTTP + 'assert(qio.spawn(function() client() return true end):join()) '
               'print("fine")', web) == 'fine\n'


@pytest.mark.timeout(60)
@lua_cases(lua for lua in LUAS if lua != 'lua5.1')
def test_requests_of_many_tasks_are_under_way_at_once(lua, web):
    """The server answers none before it has got all of the twenty."""
    script = """
        local http = require "socket.http"
        local got = {}
        assert(qio.nursery(function(n)
          for i = 1, 20 do
            n:spawn(function() got[i] = http.request(base .. "/wait/" .. i) end)
          end
          return true
        end))
        for i = 1, 20 do assert(got[i] == "/wait/" .. i, got[i]) end
        print("all")
    """
    assert run(lua, script, web) == 'all\n'


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b'220 here\r\n')
        message = None
        for line in self.rfile:
            if message is not None and line != b'.\r\n':
                message.append(line)
                continue
            if message is not None:
                self.server.messages.append((self.words, b''.join(message)))
                message = None
                self.wfile.write(b'250 taken\r\n')
                continue
            word = line.split()[0].upper()
            if word == b'EHLO':
                self.words = []
                self.wfile.write(b'250-here\r\n250 HELP\r\n')
            elif word == b'DATA':
                message = []
                self.wfile.write(b'354 go on\r\n')
            elif word == b'QUIT':
                self.wfile.write(b'221 bye\r\n')
                return
            else:
                self.words.append(line.strip())
                self.wfile.write(b'250 fine\r\n')


@pytest.fixture
def mail():
    with socketserver.ThreadingTCPServer(('127.0.0.1', 0), Mail) as server:
        server.daemon_threads = True
        server.messages = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


SMTP = """
    local smtp = require "socket.smtp"
    local function send()
      return smtp.send{
        from = "<one@example.org>", rcpt = { "<two@example.org>", "<three@example.org>" },
        source = smtp.message{ headers = { subject = "a letter" }, body = ".dots\\r\\n.and more" },
        server = "127.0.0.1", port = port,
      }
    end
"""


@pytest.mark.timeout(60)
@lua_cases(LUAS)
@pytest.mark.parametrize('how', ['send()', 'qio.spawn(send):join()'])
def test_smtp(lua, mail, how):
    if lua == 'lua5.1' and 'spawn' in how:
        how = 'send()'
    assert run(lua, SMTP + f'assert({how}) print("sent")', mail.server_address[1]) == 'sent\n'
    [(words, message)] = mail.messages
    assert words == [b'MAIL FROM:<one@example.org>', b'RCPT TO:<two@example.org>',
                     b'RCPT TO:<three@example.org>']
    assert b'subject: a letter\r\n' in message.lower()
    assert message.endswith(b'..dots\r\n..and more\r\n')
