// SPDX-License-Identifier: LGPL-2.1-or-later

import com.sun.jna.Memory;
import com.sun.jna.Pointer;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * The conversation of ../README.md from Java, with JNA.
 *
 * <pre>java -cp /usr/share/java/jna.jar:. Talk URI FILE [KEYS USER]</pre>
 *
 * Java does not tell a file's descriptor, so the file that is passed on is opened as a channel.
 */
public final class Talk {
    static final int PATIENCE_MS = 20000;
    static final long COOKIE = 7;

    /** The channel that a URI opens. */
    static Qio.Handle open(String uri, String keys, String user) throws Qio.Failure {
        try (Qio.Handle options = new Qio.Handle(Qio.LIB::qioh_options_unref,
                                                 Qio.LIB::qioh_options_new)) {
            if (keys != null) {
                Qio.call(e -> Qio.LIB.qioh_options_set_str(options.token, "tls-psk-file", keys, e));
                Qio.call(e -> Qio.LIB.qioh_options_set_str(options.token, "tls-psk-user", user, e));
            }
            return new Qio.Handle(Qio.LIB::qioh_channel_unref,
                                  e -> Qio.LIB.qioh_channel_open_uri(uri, options.token, e));
        }
    }

    /** Reads and writes lines, with a loop whose queue says when there is something to read. */
    static final class Lines implements AutoCloseable {
        private final Pointer channel;
        private final Qio.Handle loop;
        private final Qio.Handle watch;
        private final Qio.Event[] events = (Qio.Event[]) new Qio.Event().toArray(8);
        private final ByteArrayOutputStream input = new ByteArrayOutputStream();

        Lines(Pointer channel) throws Qio.Failure {
            this.channel = channel;
            loop = new Qio.Handle(Qio.LIB::qioh_loop_unref, Qio.LIB::qioh_loop_new);
            try {
                watch = new Qio.Handle(
                    Qio.LIB::qioh_watch_unref,
                    e -> Qio.LIB.qioh_watch_new_queued(loop.token, channel, Qio.IN, COOKIE, e));
            } catch (Qio.Failure error) {
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
                int count = Qio.call(e -> Qio.LIB.qioh_loop_next_events(
                    loop.token, events[0], events.length, PATIENCE_MS, e));
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
                long n = Qio.call(e -> Qio.LIB.qioh_channel_try_read(channel, chunk,
                                                                     chunk.size(), e));
                if (n == Qio.AGAIN) {
                    waitEvent(Qio.EV_WATCH);
                } else if (n == 0) {
                    throw new EOFException("the server closed the connection");
                } else {
                    input.writeBytes(chunk.getByteArray(0, (int) n));
                }
            }
        }

        void write(String text) throws Qio.Failure {
            byte[] data = text.getBytes(StandardCharsets.UTF_8);
            Qio.call(e -> Qio.LIB.qioh_channel_write_all(channel, data, data.length, e));
        }

        /** The descriptor goes along with the first byte; the set has a copy of it. */
        void writeWithFile(String text, String path) throws Qio.Failure {
            byte[] data = text.getBytes(StandardCharsets.UTF_8);
            Memory memory = new Memory(data.length);
            memory.write(0, data, 0, data.length);
            Qio.Iovec iov = new Qio.Iovec();
            iov.base = memory;
            iov.len = data.length;
            try (Qio.Handle file = new Qio.Handle(
                     Qio.LIB::qioh_channel_unref,
                     e -> Qio.LIB.qioh_channel_new_file(path, "r", 0, e));
                 Qio.Handle fds = new Qio.Handle(Qio.LIB::qioh_fdset_unref,
                                                 Qio.LIB::qioh_fdset_new)) {
                int fd = Qio.call(e -> Qio.LIB.qioh_channel_get_fd(file.token, e));
                Qio.call(e -> Qio.LIB.qioh_fdset_add(fds.token, fd, e));
                Qio.call(e -> Qio.LIB.qioh_channel_writev(channel, iov, 1, 0, fds.token, e));
            }
        }

        /** A watch that goes says so once: then whatever its cookie stood for may go. */
        void end() throws IOException {
            Qio.call(e -> Qio.LIB.qioh_watch_remove(watch.token, e));
            waitEvent(Qio.EV_RELEASED);
        }
    }

    static void talkInRot13(Pointer channel) throws Qio.Failure {
        byte[] secret = "a secret of java\n".getBytes(StandardCharsets.US_ASCII);
        byte[] answer = new byte[secret.length];
        try (Qio.Handle turning = Rot13.open(channel)) {
            Qio.call(e -> Qio.LIB.qioh_channel_write_all(turning.token, secret, secret.length, e));
            Qio.call(e -> Qio.LIB.qioh_channel_read_all(turning.token, answer, answer.length, e));
            System.out.print("rot13: " + new String(answer, StandardCharsets.US_ASCII));
            try {
                Qio.call(e -> Qio.LIB.qioh_channel_write_all(turning.token, new byte[] {-1}, 1, e));
            } catch (Qio.Failure refused) {
                System.out.println("refused: " + refused.getMessage());
            }
        }
        System.out.println("released: " + Rot13.RELEASED);
    }

    static Pointer converse(String uri, String path, String keys, String user) throws IOException {
        try (Qio.Handle channel = open(uri, keys, user); Lines lines = new Lines(channel.token)) {
            lines.write("hello from java\n");
            System.out.println("event: " + lines.read());
            int passes = Qio.call(e -> Qio.LIB.qioh_channel_has_feature(
                channel.token, Qio.FEATURE_FD_PASS, e));
            if (passes == 1) {
                lines.writeWithFile("file\n", path);
                System.out.println("file: " + lines.read());
            }
            talkInRot13(channel.token);
            lines.end();
            Qio.call(e -> Qio.LIB.qioh_channel_close(channel.token, e));
            return channel.token;
        }
    }

    static void talk(String uri, String path, String keys, String user) throws IOException {
        Pointer stale = converse(uri, path, keys, user);
        try {
            Qio.call(e -> Qio.LIB.qioh_channel_write_all(stale, new byte[] {'x'}, 1, e));
        } catch (Qio.Failure error) {
            System.out.println("stale: " + Qio.LIB.qioh_status_name(error.code));
        }
        System.out.println("left: " + Qio.LIB.qioh_debug_live(Qio.KIND_ANY));
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
