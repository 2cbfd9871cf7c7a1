// SPDX-License-Identifier: LGPL-2.1-or-later

import com.sun.jna.Native;
import com.sun.jna.Pointer;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/** What a channel written in Java is made of: it turns the letters of what passes through it. */
final class Rot13 {
    /** By user_data: those that C may call, until the release. */
    private static final Map<Long, Rot13> ALIVE = new ConcurrentHashMap<>();
    private static final AtomicLong LAST = new AtomicLong();
    static final AtomicLong RELEASED = new AtomicLong();
    /** Made once: JNA frees a callback that nobody refers to. */
    private static final Qio.Ops OPS = new Qio.Ops();

    static {
        OPS.structSize = OPS.size();
        OPS.readv = (user, iov, niov, flags, fds, error) ->
            guarded(error, () -> ALIVE.get(user).read(iov, error));
        OPS.writev = (user, iov, niov, flags, fds, error) ->
            guarded(error, () -> ALIVE.get(user).write(iov, error));
        OPS.getPoll = (user, condition, fd, events, error) ->
            Qio.LIB.qioh_channel_get_poll(ALIVE.get(user).inner, condition, fd, events, error);
        OPS.release = user -> {
            RELEASED.incrementAndGet();
            ALIVE.remove(user);
        };
    }

    private final Pointer inner;

    private Rot13(Pointer inner) {
        this.inner = inner;
    }

    static Qio.Handle open(Pointer inner) throws Qio.Failure {
        long user = LAST.incrementAndGet();
        ALIVE.put(user, new Rot13(inner));
        return new Qio.Handle(Qio.LIB::qioh_channel_unref,
                              e -> Qio.LIB.qioh_channel_new_custom(null, OPS, user, e));
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
            int length = Math.min(text.length, Qio.MESSAGE_SIZE - 1);
            error.write(Qio.MESSAGE_AT, text, 0, length);
            error.setByte(Qio.MESSAGE_AT + length, (byte) 0);
            return Qio.CALLBACK;
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
        long n = Qio.LIB.qioh_channel_try_read(inner, base, iov.getLong(Native.POINTER_SIZE),
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
        return Qio.LIB.qioh_channel_try_write(inner, turn(text), len, error);
    }
}
