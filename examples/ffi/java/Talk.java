// SPDX-License-Identifier: LGPL-2.1-or-later

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
        public byte[] message = new byte[480];
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

    // ---- the conversation ----

    static Pointer converse(String uri, String path, String keys, String user) throws IOException {
        try (Handle channel = open(uri, keys, user); Lines lines = new Lines(channel.token)) {
            lines.write("hello from java\n");
            System.out.println("event: " + lines.read());
            if (call(e -> QIO.qioh_channel_has_feature(channel.token, FEATURE_FD_PASS, e)) == 1) {
                lines.writeWithFile("file\n", path);
                System.out.println("file: " + lines.read());
            }
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
