// SPDX-License-Identifier: LGPL-2.1-or-later

import com.sun.jna.Callback;
import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.Structure.FieldOrder;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/**
 * What is used of the flat ABI, declared by hand for JNA, with its errors as exceptions.
 *
 * A handle is a Pointer that nobody looks behind.  Any thread may make any call: the error belongs
 * to the call.
 */
final class Qio {
    static final int AGAIN = -2;
    static final int CALLBACK = -16;
    static final int MESSAGE_AT = 32;
    static final int MESSAGE_SIZE = 480;
    static final int IN = 1;
    static final int EV_WATCH = 1;
    static final int EV_RELEASED = 7;
    static final int FEATURE_FD_PASS = 0;
    static final int KIND_ANY = 0;

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

    public interface Functions extends Library {
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

    static final Functions LIB = Native.load("libqio.so.0", Functions.class);

    static final class Failure extends IOException {
        private static final long serialVersionUID = 1;
        final int code;

        Failure(Err error) {
            super(LIB.qioh_status_name(error.code) + ": "
                  + Native.toString(error.message, StandardCharsets.UTF_8));
            code = error.code;
        }
    }

    interface Call<R> {
        R with(Err error);
    }

    /** Makes a call with an error of its own and gives its result on; AGAIN is one. */
    static <R> R call(Call<R> function) throws Failure {
        Err error = new Err();
        R result = function.with(error);
        if (error.code < 0) {
            throw new Failure(error);
        }
        return result;
    }

    /** An owned handle, given up at the end of a try. */
    static final class Handle implements AutoCloseable {
        final Pointer token;
        private final Consumer<Pointer> unref;

        Handle(Consumer<Pointer> unref, Call<Pointer> function) throws Failure {
            this.token = call(function);
            this.unref = unref;
        }

        @Override
        public void close() {
            unref.accept(token);
        }
    }

    private Qio() {
    }
}
