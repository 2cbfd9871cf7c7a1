<?php // SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * talk: the conversation of ../README.md from PHP's FFI.
 *
 *   php talk.php URI FILE [KEYS USER]
 *
 * The header of the flat ABI goes to FFI::cdef() as it is.  A stream of PHP does not tell its
 * descriptor, so the file that is passed on is opened as a channel.
 */
declare(strict_types=1);

const PATIENCE_MS = 20000;
const COOKIE = 7;

final class QioError extends RuntimeException {}

/** A handle, given up when nobody refers to it any more. */
final class Handle
{
    public function __construct(private Qio $qio, private string $noun, public FFI\CData $token) {}

    public function __destruct()
    {
        $this->qio->ffi->{"qioh_{$this->noun}_unref"}($this->token);
    }
}

/** The library: $qio->channel_read(...) calls qioh_channel_read(..., &error) and checks it. */
final class Qio
{
    public FFI $ffi;

    public function __construct(string $header)
    {
        $this->ffi = FFI::cdef(file_get_contents($header), 'libqio.so.0');
    }

    /** null stands for AGAIN */
    public function __call(string $name, array $arguments): mixed
    {
        $error = $this->ffi->new('qioh_error');
        $arguments = array_map(fn ($a) => $a instanceof Handle ? $a->token : $a, $arguments);
        $result = $this->ffi->{"qioh_$name"}(...[...$arguments, FFI::addr($error)]);
        if ($error->code < 0) {
            $text = $this->status_name($error->code) . ': ' . FFI::string($error->message);
            throw new QioError($text, $error->code);
        }
        return $result === $this->ffi->QIOH_E_AGAIN ? null : $result;
    }

    public function handle(string $noun, FFI\CData $token): Handle
    {
        return new Handle($this, $noun, $token);
    }

    public function status_name(int $code): string
    {
        return $this->ffi->qioh_status_name($code);
    }
}

/** A channel with a loop whose queue says when there is something to read. */
final class Connection
{
    public Handle $channel;
    private Handle $loop;
    private Handle $watch;
    private FFI\CData $events;
    private string $input = '';

    public function __construct(private Qio $qio, string $uri, ?string $keys, ?string $user)
    {
        $options = $qio->handle('options', $qio->options_new());
        if ($keys !== null) {
            $qio->options_set_str($options, 'tls-psk-file', $keys);
            $qio->options_set_str($options, 'tls-psk-user', $user);
        }
        $this->channel = $qio->handle('channel', $qio->channel_open_uri($uri, $options));
        $this->loop = $qio->handle('loop', $qio->loop_new());
        $this->watch = $qio->handle('watch', $qio->watch_new_queued(
            $this->loop, $this->channel, $qio->ffi->QIOH_IN, COOKIE));
        $this->events = $qio->ffi->new('qioh_event[8]');
        $this->events[0]->struct_size = FFI::sizeof($this->events[0]);
    }

    /** Fetches events until one of the kind has come; nothing calls back. */
    private function waitEvent(int $kind): void
    {
        while (true) {
            $count = $this->qio->loop_next_events($this->loop, $this->events, 8, PATIENCE_MS);
            if ($count === 0) {
                throw new RuntimeException('the server says nothing');
            }
            for ($i = 0; $i < $count; $i++) {
                if ($this->events[$i]->kind === $kind && $this->events[$i]->cookie === COOKIE) {
                    return;
                }
            }
        }
    }

    public function readLine(): string
    {
        $chunk = $this->qio->ffi->new('char[4096]');
        while (!str_contains($this->input, "\n")) {
            $n = $this->qio->channel_try_read($this->channel, $chunk, FFI::sizeof($chunk));
            if ($n === null) {
                $this->waitEvent($this->qio->ffi->QIOH_EV_WATCH);
            } elseif ($n === 0) {
                throw new RuntimeException('the server closed the connection');
            } else {
                $this->input .= FFI::string($chunk, $n);
            }
        }
        [$line, $this->input] = explode("\n", $this->input, 2);
        return $line;
    }

    public function send(string $text): void
    {
        $this->qio->channel_write_all($this->channel, $text, strlen($text));
    }

    /** The descriptor goes along with the first byte; the set has a copy of it. */
    public function sendFile(string $text, string $path): void
    {
        $qio = $this->qio;
        $file = $qio->handle('channel', $qio->channel_new_file($path, 'r', 0));
        $fds = $qio->handle('fdset', $qio->fdset_new());
        $qio->fdset_add($fds, $qio->channel_get_fd($file));
        $data = $qio->ffi->new('char[' . strlen($text) . ']');
        FFI::memcpy($data, $text, strlen($text));
        $iov = $qio->ffi->new('qioh_iovec');
        $iov->base = $qio->ffi->cast('void *', FFI::addr($data));
        $iov->len = strlen($text);
        $qio->channel_writev($this->channel, FFI::addr($iov), 1, 0, $fds);
    }

    /** A watch that goes says so once: then whatever its cookie stood for may go. */
    public function close(): void
    {
        $this->qio->watch_remove($this->watch);
        $this->waitEvent($this->qio->ffi->QIOH_EV_RELEASED);
        $this->qio->channel_close($this->channel);
    }
}

/** What a channel of our own is made of: it turns the letters of what passes through it. */
final class Rot13
{
    public int $released = 0;

    public function __construct(private FFI $ffi, private FFI\CData $inner) {}

    /** The library copies the struct; PHP keeps its callbacks until the request ends. */
    public function ops(): FFI\CData
    {
        $ops = $this->ffi->new('qioh_channel_ops');
        $ops->struct_size = FFI::sizeof($ops);
        $ops->readv = $this->guarded($this->readv(...));
        $ops->writev = $this->guarded($this->writev(...));
        $ops->get_poll = fn ($data, $condition, $fd, $events, $error) =>
            $this->ffi->qioh_channel_get_poll($this->inner, $condition, $fd, $events, $error);
        $ops->release = function ($data): void {
            $this->released++;
        };
        return $ops;
    }

    /** No exception leaves a callback: it becomes the error of the call that needed it. */
    private function guarded(Closure $op): Closure
    {
        return function ($data, $iov, $niov, $flags, $fds, $error) use ($op): int {
            try {
                return $op($iov[0], $error);
            } catch (Throwable $thrown) {
                $message = substr($thrown->getMessage(), 0, 479) . "\0";
                FFI::memcpy($error->message, $message, strlen($message));
                return $this->ffi->QIOH_E_CALLBACK;
            }
        };
    }

    private function readv(FFI\CData $block, FFI\CData $error): int
    {
        $n = $this->ffi->qioh_channel_try_read($this->inner, $block->base, $block->len, $error);
        if ($n > 0) {
            FFI::memcpy($block->base, str_rot13(FFI::string($block->base, $n)), $n);
        }
        return $n;      // also AGAIN, or a failure that is in the error
    }

    private function writev(FFI\CData $block, FFI\CData $error): int
    {
        $text = FFI::string($block->base, $block->len);
        if (preg_match('/[^\x00-\x7f]/', $text)) {
            throw new DomainException('only ASCII is turned');
        }
        return $this->ffi->qioh_channel_try_write($this->inner, str_rot13($text), strlen($text),
                                                  $error);
    }
}

function talkInRot13(Qio $qio, Handle $channel): void
{
    $rot13 = new Rot13($qio->ffi, $channel->token);
    $turning = $qio->handle('channel', $qio->channel_new_custom(
        null, FFI::addr($rot13->ops()), null));
    $secret = "a secret of php\n";
    $qio->channel_write_all($turning, $secret, strlen($secret));
    $answer = $qio->ffi->new('char[' . strlen($secret) . ']');
    $qio->channel_read_all($turning, $answer, strlen($secret));
    echo 'rot13: ', FFI::string($answer, strlen($secret));
    try {
        $qio->channel_write_all($turning, "\xff", 1);
    } catch (QioError $error) {
        echo "refused: {$error->getMessage()}\n";
    }
    unset($turning, $error);
    echo "released: {$rot13->released}\n";
}

function converse(Qio $qio, Connection $connection, string $path): FFI\CData
{
    $connection->send("hello from php\n");
    echo "event: {$connection->readLine()}\n";
    if ($qio->channel_has_feature($connection->channel, $qio->ffi->QIOH_FEATURE_FD_PASS)) {
        $connection->sendFile("file\n", $path);
        echo "file: {$connection->readLine()}\n";
    }
    talkInRot13($qio, $connection->channel);
    $connection->close();
    return $connection->channel->token;
}

function talk(string $uri, string $path, ?string $keys = null, ?string $user = null): void
{
    $qio = new Qio(__DIR__ . '/../../../core/abi/qioh-abi.h');
    $stale = converse($qio, new Connection($qio, $uri, $keys, $user), $path);
    try {
        $qio->channel_write_all($stale, 'x', 1);
    } catch (QioError $error) {
        echo 'stale: ', $qio->status_name($error->getCode()), "\n";
    }
    echo 'left: ', $qio->ffi->qioh_debug_live($qio->ffi->QIOH_KIND_ANY), "\n";
}

if ($argc !== 3 && $argc !== 5) {
    fwrite(STDERR, "usage: talk.php URI FILE [KEYS USER]\n");
    exit(2);
}
try {
    talk(...array_slice($argv, 1));
} catch (RuntimeException $error) {
    fwrite(STDERR, "talk.php: {$error->getMessage()}\n");
    exit(1);
}
