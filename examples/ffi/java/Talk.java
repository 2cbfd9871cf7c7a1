// SPDX-License-Identifier: LGPL-2.1-or-later

import com.sun.jna.Callback;
import com.sun.jna.Library;
import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.Structure.FieldOrder;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;

/**
 * The conversation of ../README.md from Java, with JNA.
 *
 * <pre>java -cp /usr/share/java/jna.jar:. Talk URI FILE [KEYS USER]</pre>
 *
 * JNA reads no header, so what is used is declared by hand; a handle is a Pointer that nobody
 * looks behind.  Java does not tell a file's descriptor, so the file that is passed on is opened
 * as a channel.  Any thread may make any call: the error belongs to the call.
 */
public final class Talk {
    static final int AGAIN = -2;
    static final int CALLBACK = -16;
    static final int MESSAGE_AT = 32;
    static final int MESSAGE_SIZE = 480;
    static final int IN = 1;
    static final int EV_WATCH = 1;
    static final int EV_RELEASED = 7;
    static final int FEATURE_FD_PASS = 0;
    static final int KIND_ANY = 0;
    static final int PATIENCE_MS = 20000;
    static final long COOKIE = 7;

    // ---- the flat ABI, as far as it is used ----

    @FieldOrder({"structSize", "code", "sysErrno", "domain", "number", "bytes", "message"})
    public static class Err extends Structure {
        public int structSize;
        public int code;
        public int sysErrno;
        public int domain;
        public long number;
        public long bytes;
        public byte[] message = new byte[MESSAGE_SIZE];
    }

    @FieldOrder({"base", "len"})
    public static class Iovec extends Structure {
        public Pointer base;
        public long len;
    }

    @FieldOrder({"structSize", "kind", "condition", "status", "cookie", "bytes", "channel",
                 "watch", "task", "listener"})
    public static class Event extends Structure {
        public int structSize;
        public int kind;
        public int condition;
        public int status;
        public long cookie;
        public long bytes;
        public Pointer channel;
        public Pointer watch;
        public Pointer task;
        public Pointer listener;
    }

    public interface TransferOp extends Callback {
        long call(long userData, Pointer iov, long niov, int flags, Pointer fds, Pointer error);
    }

    public interface PollOp extends Callback {
        int call(long userData, int condition, Pointer fd, Pointer events, Pointer error);
    }

    public interface ReleaseOp extends Callback {
        void call(long userData);
    }

    /** A channel of one's own; a member that stays null has a default. */
    @FieldOrder({"structSize", "flags", "readv", "writev", "close", "shutdown", "seek",
                 "getPoll", "flush", "release"})
    public static class Ops extends Structure {
        public int structSize;
        public int flags;
        public TransferOp readv;
        public TransferOp writev;
        public Pointer close;
        public Pointer shutdown;
        public Pointer seek;
        public PollOp getPoll;
        public Pointer flush;
        public ReleaseOp release;
    }

    public interface Qio extends Library {
        String qioh_status_name(int code);

        long qioh_debug_live(int kind);

        Pointer qioh_options_new(Err error);

        int qioh_options_set_str(Pointer options, String key, String value, Err error);

        void qioh_options_unref(Pointer options);

        Pointer qioh_channel_open_uri(String uri, Pointer options, Err error);

        Pointer qioh_channel_new_file(String path, String mode, int permissions, Err error);

        int qioh_channel_get_fd(Pointer channel, Err error);

        int qioh_channel_has_feature(Pointer channel, int feature, Err error);

        long qioh_channel_try_read(Pointer channel, Pointer buf, long len, Err error);

        long qioh_channel_try_read(Pointer channel, Pointer buf, long len, Pointer error);

        long qioh_channel_try_write(Pointer channel, byte[] buf, long len, Pointer error);

        int qioh_channel_read_all(Pointer channel, byte[] buf, long len, Err error);

        int qioh_channel_get_poll(Pointer channel, int condition, Pointer fd, Pointer events,
                                  Pointer error);

        Pointer qioh_channel_new_custom(Pointer loop, Ops ops, long userData, Err error);

        int qioh_channel_write_all(Pointer channel, byte[] buf, long len, Err error);

        long qioh_channel_writev(Pointer channel, Iovec iov, long niov, int flags, Pointer fds,
                                 Err error);

        int qioh_channel_close(Pointer channel, Err error);

        void qioh_channel_unref(Pointer channel);

        Pointer qioh_loop_new(Err error);

        int qioh_loop_next_events(Pointer loop, Event first, int cap, int timeoutMs, Err error);

        void qioh_loop_unref(Pointer loop);

        Pointer qioh_watch_new_queued(Pointer loop, Pointer channel, int condition, long cookie,
                                      Err error);

        int qioh_watch_remove(Pointer watch, Err error);

        void qioh_watch_unref(Pointer watch);

        Pointer qioh_fdset_new(Err error);

        int qioh_fdset_add(Pointer fds, int fd, Err error);

        void qioh_fdset_unref(Pointer fds);
    }

    static final Qio QIO = Native.load("libqio.so.0", Qio.class);

    // ---- errors and handles ----

    static final class QioException extends IOException {
        private static final long serialVersionUID = 1;
        final int code;

        QioException(Err error) {
            super(QIO.qioh_status_name(error.code) + ": "
                  + Native.toString(error.message, StandardCharsets.UTF_8));
            code = error.code;
        }
    }

    interface Call<R> {
        R with(Err error);
    }

    /** Makes a call with an error of its own and gives its result on; AGAIN is one. */
    static <R> R call(Call<R> function) throws QioException {
        Err error = new Err();
        R result = function.with(error);
        if (error.code < 0) {
            throw new QioException(error);
        }
        return result;
    }

    /** An owned handle, given up at the end of a try. */
    static final class Handle implements AutoCloseable {
        final Pointer token;
        private final Consumer<Pointer> unref;

        Handle(Consumer<Pointer> unref, Call<Pointer> function) throws QioException {
            this.token = call(function);
            this.unref = unref;
        }

        @Override
        public void close() {
            unref.accept(token);
        }
    }

    /** The channel that a URI opens. */
    static Handle open(String uri, String keys, String user) throws QioException {
        try (Handle options = new Handle(QIO::qioh_options_unref, QIO::qioh_options_new)) {
            if (keys != null) {
                call(e -> QIO.qioh_options_set_str(options.token, "tls-psk-file", keys, e));
                call(e -> QIO.qioh_options_set_str(options.token, "tls-psk-user", user, e));
            }
            return new Handle(QIO::qioh_channel_unref,
                              e -> QIO.qioh_channel_open_uri(uri, options.token, e));
        }
    }

    /** Reads and writes lines, with a loop whose queue says when there is something to read. */
    static final class Lines implements AutoCloseable {
        private final Pointer channel;
        private final Handle loop;
        private final Handle watch;
        private final Event[] events = (Event[]) new Event().toArray(8);
        private final ByteArrayOutputStream input = new ByteArrayOutputStream();

        Lines(Pointer channel) throws QioException {
            this.channel = channel;
            loop = new Handle(QIO::qioh_loop_unref, QIO::qioh_loop_new);
            try {
                watch = new Handle(QIO::qioh_watch_unref, e -> QIO.qioh_watch_new_queued(
                    loop.token, channel, IN, COOKIE, e));
            } catch (QioException error) {
                loop.close();
                throw error;
            }
            events[0].structSize = events[0].size();
        }

        @Override
        public void close() {
            watch.close();
            loop.close();
        }

        /** Fetches events until one of the kind has come; nothing calls back. */
        private void waitEvent(int kind) throws IOException {
            while (true) {
                int count = call(e -> QIO.qioh_loop_next_events(loop.token, events[0],
                                                                events.length, PATIENCE_MS, e));
                if (count == 0) {
                    throw new IOException("the server says nothing");
                }
                for (int i = 0; i < count; i++) {
                    events[i].read();
                    if (events[i].kind == kind && events[i].cookie == COOKIE) {
                        return;
                    }
                }
            }
        }

        String read() throws IOException {
            Memory chunk = new Memory(4096);
            while (true) {
                String text = input.toString(StandardCharsets.UTF_8);
                int end = text.indexOf('\n');
                if (end >= 0) {
                    input.reset();
                    input.writeBytes(text.substring(end + 1).getBytes(StandardCharsets.UTF_8));
                    return text.substring(0, end);
                }
                int n = (int) (long) call(e -> QIO.qioh_channel_try_read(channel, chunk,
                                                                         chunk.size(), e));
                if (n == AGAIN) {
                    waitEvent(EV_WATCH);
                } else if (n == 0) {
                    throw new EOFException("the server closed the connection");
                } else {
                    input.writeBytes(chunk.getByteArray(0, n));
                }
            }
        }

        void write(String text) throws QioException {
            byte[] data = text.getBytes(StandardCharsets.UTF_8);
            call(e -> QIO.qioh_channel_write_all(channel, data, data.length, e));
        }

        /** The descriptor goes along with the first byte; the set has a copy of it. */
        void writeWithFile(String text, String path) throws QioException {
            byte[] data = text.getBytes(StandardCharsets.UTF_8);
            Memory memory = new Memory(data.length);
            memory.write(0, data, 0, data.length);
            Iovec iov = new Iovec();
            iov.base = memory;
            iov.len = data.length;
            try (Handle file = new Handle(QIO::qioh_channel_unref,
                                          e -> QIO.qioh_channel_new_file(path, "r", 0, e));
                 Handle fds = new Handle(QIO::qioh_fdset_unref, QIO::qioh_fdset_new)) {
                int fd = call(e -> QIO.qioh_channel_get_fd(file.token, e));
                call(e -> QIO.qioh_fdset_add(fds.token, fd, e));
                call(e -> QIO.qioh_channel_writev(channel, iov, 1, 0, fds.token, e));
            }
        }

        /** A watch that goes says so once: then whatever its cookie stood for may go. */
        void end() throws IOException {
            call(e -> QIO.qioh_watch_remove(watch.token, e));
            waitEvent(EV_RELEASED);
        }
    }

    // ---- a channel of our own, which turns the letters of what passes through it ----

    static final class Rot13 {
        /** By user_data: those that C may call, until the release. */
        private static final Map<Long, Rot13> ALIVE = new ConcurrentHashMap<>();
        private static final AtomicLong LAST = new AtomicLong();
        static final AtomicLong RELEASED = new AtomicLong();
        /** Made once: JNA frees a callback that nobody refers to. */
        private static final Ops OPS = new Ops();

        static {
            OPS.structSize = OPS.size();
            OPS.readv = (user, iov, niov, flags, fds, error) ->
                guarded(error, () -> ALIVE.get(user).read(iov, error));
            OPS.writev = (user, iov, niov, flags, fds, error) ->
                guarded(error, () -> ALIVE.get(user).write(iov, error));
            OPS.getPoll = (user, condition, fd, events, error) ->
                QIO.qioh_channel_get_poll(ALIVE.get(user).inner, condition, fd, events, error);
            OPS.release = user -> {
                RELEASED.incrementAndGet();
                ALIVE.remove(user);
            };
        }

        private final Pointer inner;

        private Rot13(Pointer inner) {
            this.inner = inner;
        }

        static Handle open(Pointer inner) throws QioException {
            long user = LAST.incrementAndGet();
            ALIVE.put(user, new Rot13(inner));
            return new Handle(QIO::qioh_channel_unref,
                              e -> QIO.qioh_channel_new_custom(null, OPS, user, e));
        }

        interface Op {
            long run() throws IOException;
        }

        /** No exception leaves a callback: it becomes the error of the call that needed it. */
        private static long guarded(Pointer error, Op op) {
            try {
                return op.run();
            } catch (IOException | RuntimeException exception) {
                byte[] text = String.valueOf(exception.getMessage())
                    .getBytes(StandardCharsets.UTF_8);
                int length = Math.min(text.length, MESSAGE_SIZE - 1);
                error.write(MESSAGE_AT, text, 0, length);
                error.setByte(MESSAGE_AT + length, (byte) 0);
                return CALLBACK;
            }
        }

        private static byte[] turn(byte[] text) {
            byte[] turned = text.clone();
            for (int i = 0; i < text.length; i++) {
                int first = text[i] >= 'a' ? 'a' : 'A';
                if (Character.isLetter(text[i])) {
                    turned[i] = (byte) ((text[i] - first + 13) % 26 + first);
                }
            }
            return turned;
        }

        private long read(Pointer iov, Pointer error) {
            Pointer base = iov.getPointer(0);
            long n = QIO.qioh_channel_try_read(inner, base, iov.getLong(Native.POINTER_SIZE),
                                               error);
            if (n > 0) {
                base.write(0, turn(base.getByteArray(0, (int) n)), 0, (int) n);
            }
            return n;   // also AGAIN, or a failure that is in the error
        }

        private long write(Pointer iov, Pointer error) throws IOException {
            int len = (int) iov.getLong(Native.POINTER_SIZE);
            byte[] text = iov.getPointer(0).getByteArray(0, len);
            for (byte letter : text) {
                if (letter < 0) {
                    throw new IOException("only ASCII is turned");
                }
            }
            return QIO.qioh_channel_try_write(inner, turn(text), len, error);
        }
    }

    static void talkInRot13(Pointer channel) throws QioException {
        byte[] secret = "a secret of java\n".getBytes(StandardCharsets.US_ASCII);
        byte[] answer = new byte[secret.length];
        try (Handle turning = Rot13.open(channel)) {
            call(e -> QIO.qioh_channel_write_all(turning.token, secret, secret.length, e));
            call(e -> QIO.qioh_channel_read_all(turning.token, answer, answer.length, e));
            System.out.print("rot13: " + new String(answer, StandardCharsets.US_ASCII));
            try {
                call(e -> QIO.qioh_channel_write_all(turning.token, new byte[] {-1}, 1, e));
            } catch (QioException refused) {
                System.out.println("refused: " + refused.getMessage());
            }
        }
        System.out.println("released: " + Rot13.RELEASED);
    }

    // ---- the conversation ----

    static Pointer converse(String uri, String path, String keys, String user) throws IOException {
        try (Handle channel = open(uri, keys, user); Lines lines = new Lines(channel.token)) {
            lines.write("hello from java\n");
            System.out.println("event: " + lines.read());
            if (call(e -> QIO.qioh_channel_has_feature(channel.token, FEATURE_FD_PASS, e)) == 1) {
                lines.writeWithFile("file\n", path);
                System.out.println("file: " + lines.read());
            }
            talkInRot13(channel.token);
            lines.end();
            call(e -> QIO.qioh_channel_close(channel.token, e));
            return channel.token;
        }
    }

    static void talk(String uri, String path, String keys, String user) throws IOException {
        Pointer stale = converse(uri, path, keys, user);
        try {
            call(e -> QIO.qioh_channel_write_all(stale, new byte[] {'x'}, 1, e));
        } catch (QioException error) {
            System.out.println("stale: " + QIO.qioh_status_name(error.code));
        }
        System.out.println("left: " + QIO.qioh_debug_live(KIND_ANY));
    }

    public static void main(String[] args) {
        if (args.length != 2 && args.length != 4) {
            System.err.println("usage: Talk URI FILE [KEYS USER]");
            System.exit(2);
        }
        try {
            talk(args[0], args[1], args.length == 4 ? args[2] : null,
                 args.length == 4 ? args[3] : null);
        } catch (IOException error) {
            System.err.println("Talk: " + error.getMessage());
            System.exit(1);
        }
    }
}
