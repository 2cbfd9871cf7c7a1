// SPDX-License-Identifier: LGPL-2.1-or-later

import com.sun.jna.Library;
import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.Pointer;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Threads: uses many channels from a pool of threads, each call as a task of its own.
 *
 * <pre>Threads CHANNELS ROUNDS</pre>
 *
 * On each pair of channels one side asks and waits for the answer, which another pool gives.  Each
 * round fails on purpose as well, in one task, and looks at the error in another.  Prints what was
 * done and by how many threads; exit status 1 on any surprise.
 */
public final class Threads {
    static final int E_SYSTEM = -1;
    static final int MESSAGE = 16;
    static final int ERROR_SIZE = 512;
    static final int ERROR_CODE = 4;
    static final int ERROR_MESSAGE = 32;

    public interface Qio extends Library {
        int qioh_channel_new_pair(Pointer out2, Memory error);

        Pointer qioh_channel_open_uri(String uri, Pointer options, Memory error);

        int qioh_channel_write_all(Pointer channel, byte[] buf, long len, Memory error);

        int qioh_channel_read_all(Pointer channel, byte[] buf, long len, Memory error);

        void qioh_channel_unref(Pointer channel);

        long qioh_debug_live(int kind);
    }

    static final Qio QIO = Native.load("libqio.so.0", Qio.class);

    static Memory newError() {
        Memory error = new Memory(ERROR_SIZE);
        error.clear();
        return error;
    }

    static String message(Memory error) {
        return error.getString(ERROR_MESSAGE, "UTF-8");
    }

    static void must(int result, Memory error) {
        if (result < 0) {
            throw new IllegalStateException(message(error));
        }
    }

    /** Two connected channels and the threads that have made a call on them. */
    static final class Pair {
        final Pointer asks;
        final Pointer answers;
        final int number;
        final Set<Long> threads = ConcurrentHashMap.newKeySet();

        Pair(int number) {
            this.number = number;
            Memory error = newError();
            Memory two = new Memory(2L * Native.POINTER_SIZE);
            must(QIO.qioh_channel_new_pair(two, error), error);
            asks = two.getPointer(0);
            answers = two.getPointer(Native.POINTER_SIZE);
        }

        void write(Pointer channel, byte[] data) {
            threads.add(Thread.currentThread().getId());
            Memory error = newError();
            must(QIO.qioh_channel_write_all(channel, data, data.length, error), error);
        }

        byte[] read(Pointer channel) {
            threads.add(Thread.currentThread().getId());
            Memory error = newError();
            byte[] data = new byte[MESSAGE];
            must(QIO.qioh_channel_read_all(channel, data, data.length, error), error);
            return data;
        }

        void unref() {
            QIO.qioh_channel_unref(asks);
            QIO.qioh_channel_unref(answers);
        }
    }

    static void compare(String expected, byte[] answer) {
        String text = new String(answer, StandardCharsets.UTF_8);
        if (!expected.equals(text)) {
            throw new IllegalStateException("asked " + expected + ", answered " + text);
        }
    }

    static Memory failOnPurpose(String nowhere) {
        Memory error = newError();
        if (QIO.qioh_channel_open_uri("unix:" + nowhere, null, error) != null) {
            throw new IllegalStateException("opened " + nowhere);
        }
        return error;
    }

    static void expect(String nowhere, Memory error) {
        if (error.getInt(ERROR_CODE) != E_SYSTEM || !message(error).contains(nowhere + ":")) {
            throw new IllegalStateException("an error about " + nowhere + " says "
                                            + message(error));
        }
    }

    /** Asks, reads, fails, looks: each on whichever thread of the pool is free. */
    static CompletableFuture<Void> ask(Pair pair, int round, int rounds, Executor pool) {
        if (round == rounds) {
            return CompletableFuture.completedFuture(null);
        }
        String question = String.format("%7d %8d", pair.number, round);
        String nowhere = "/nowhere/" + pair.number + "/" + round;
        byte[] bytes = question.getBytes(StandardCharsets.UTF_8);
        return CompletableFuture.runAsync(() -> pair.write(pair.asks, bytes), pool)
            .thenApplyAsync(nothing -> pair.read(pair.asks), pool)
            .thenAcceptAsync(answer -> compare(question, answer), pool)
            .thenApplyAsync(nothing -> failOnPurpose(nowhere), pool)
            .thenAcceptAsync(error -> expect(nowhere, error), pool)
            .thenComposeAsync(nothing -> ask(pair, round + 1, rounds, pool), pool);
    }

    static CompletableFuture<Void> answer(Pair pair, int rounds, Executor pool) {
        if (rounds == 0) {
            return CompletableFuture.completedFuture(null);
        }
        return CompletableFuture.supplyAsync(() -> pair.read(pair.answers), pool)
            .thenAcceptAsync(data -> pair.write(pair.answers, data), pool)
            .thenComposeAsync(nothing -> answer(pair, rounds - 1, pool), pool);
    }

    public static void main(String[] args) {
        int count = Integer.parseInt(args[0]);
        int rounds = Integer.parseInt(args[1]);
        ExecutorService asking = Executors.newFixedThreadPool(count);
        ExecutorService answering = Executors.newFixedThreadPool(count);
        List<Pair> pairs = new ArrayList<>();
        List<CompletableFuture<Void>> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Pair pair = new Pair(i);
            pairs.add(pair);
            all.add(ask(pair, 0, rounds, asking));
            all.add(answer(pair, rounds, answering));
        }
        CompletableFuture.allOf(all.toArray(new CompletableFuture<?>[0])).join();
        asking.shutdown();
        answering.shutdown();
        pairs.forEach(Pair::unref);
        int most = pairs.stream().mapToInt(pair -> pair.threads.size()).max().orElse(0);
        System.out.println("rounds: " + count * rounds + "\nthreads: " + most
                           + "\nleft: " + QIO.qioh_debug_live(0));
    }
}
