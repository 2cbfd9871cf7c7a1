/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conversation.c: what two ends of a stack say to each other, see conversation.h.
 *
 * Rules: both ends are non-blocking; an end writes its next turn when the one before has been read
 * by the other side; the driver stops when nothing has moved at the bottom for a while, so a stack
 * that loses a wake-up shows as a text that says "stuck".
 */
#include "conversation.h"

#include <string.h>
#include "runner.h"

enum {
    TURNS_MAX = 6,
    IDLE_MAX = 40,      /* rounds without any byte below: more than any pause in memory.c takes */
};

typedef enum Ending {
    END_BYE,            /* in order: io_bye of both ends */
    END_CLOSE,          /* one end closes, the other reads on */
    END_CUT,            /* the line is cut */
    ENDINGS,
} Ending;

typedef struct Turn {
    int from;
    size_t len;
} Turn;

typedef struct Conversation {
    GRand *random;
    Turn turns[TURNS_MAX];
    int nturns;
    Ending ending;
    QIOChannel *bottom[2], *end[2];
    GChecksum *seen[2];
    size_t got[2];
    size_t read;        /* at both bottoms, see moved() */
    GString *text;
} Conversation;

static size_t turn_length(GRand *random)
{
    switch (g_rand_int_range(random, 0, 5)) {
    case 0:
        return (size_t)g_rand_int_range(random, 1, 4);
    case 1:
        return (size_t)g_rand_int_range(random, 120, 132);
    case 2:
        return (size_t)g_rand_int_range(random, 65530, 65540);
    case 3:
        return (size_t)g_rand_int_range(random, 16380, 16390);
    default:
        return (size_t)g_rand_int_range(random, 1, 3000);
    }
}

/* Large turns only in some: a byte at a time takes long over them. */
static void invent(Conversation *c, uint32_t number)
{
    c->random = g_rand_new_with_seed(number);
    c->nturns = g_rand_int_range(c->random, 1, TURNS_MAX + 1);
    for (int i = 0; i < c->nturns; i++) {
        c->turns[i].from = g_rand_boolean(c->random);
        c->turns[i].len = turn_length(c->random);
        if (number % 8 != 0 && c->turns[i].len > 3000) {
            c->turns[i].len %= 3000;
        }
        c->turns[i].len += c->turns[i].len == 0;
    }
    c->ending = (Ending)g_rand_int_range(c->random, 0, ENDINGS);
    for (int i = 0; i < 2; i++) {
        c->seen[i] = g_checksum_new(G_CHECKSUM_SHA1);
    }
    c->text = g_string_new(NULL);
}

static void note(Conversation *c, int i, const char *what)
{
    g_string_append_printf(c->text, "%d: %s after %zu bytes %s\n", i, what, c->got[i],
                           g_checksum_get_string(c->seen[i]));
}

static void note_error(Conversation *c, int i, const char *what, Error *err)
{
    char *text = g_strdup_printf("%s fails with code %d", what, (int)qio_error_get_code(err));

    note(c, i, text);
    g_free(text);
    qio_error_free(err);
}

/* One try to read.  Returns: bytes, 0 nothing now, -1 it ended */
static int hear(Conversation *c, int i)
{
    uint8_t buf[5000];
    Error *err = NULL;
    ssize_t n = qio_channel_read(c->end[i], (char *)buf, sizeof(buf), &err);

    if (n > 0) {
        g_checksum_update(c->seen[i], buf, n);
        c->got[i] += (size_t)n;
        return (int)n;
    }
    if (n == QIO_CHANNEL_ERR_BLOCK) {
        return 0;
    }
    if (n == 0) {
        note(c, i, "end");
    } else {
        note_error(c, i, "read", err);
    }
    return -1;
}

static int say(Conversation *c, int i, const uint8_t *bytes, size_t len)
{
    Error *err = NULL;
    ssize_t n = qio_channel_write(c->end[i], (const char *)bytes, len, &err);

    if (n == -1) {
        note_error(c, i, "write", err);
    }
    return n == QIO_CHANNEL_ERR_BLOCK ? 0 : (int)n;
}

/* Whether a byte has moved at the bottom since the last call. */
static bool moved(Conversation *c)
{
    size_t read = memory_read(c->bottom[0]) + memory_read(c->bottom[1]);
    bool more = read != c->read;

    c->read = read;
    return more;
}

/* One turn: from one end to the other.  Returns false when it cannot go on. */
static bool take_turn(Conversation *c, const Turn *turn)
{
    uint8_t *bytes = g_malloc(turn->len);
    size_t said = 0, until = c->got[!turn->from] + turn->len;
    int idle = 0, n = 0, m = 0;

    for (size_t i = 0; i < turn->len; i++) {
        bytes[i] = (uint8_t)g_rand_int(c->random);
    }
    while (c->got[!turn->from] < until && idle < IDLE_MAX) {
        n = said < turn->len ? say(c, turn->from, bytes + said, turn->len - said) : 0;
        said += n > 0 ? (size_t)n : 0;
        m = hear(c, !turn->from);
        if (n < 0 || m < 0) {
            break;
        }
        qio_channel_wait_timeout(c->end[turn->from], G_IO_OUT, 0, NULL);
        qio_channel_wait_timeout(c->end[turn->from], G_IO_IN, 0, NULL);
        idle = moved(c) ? 0 : idle + 1;
    }
    g_free(bytes);
    if (idle == IDLE_MAX) {
        note(c, !turn->from, "stuck");
    }
    return n >= 0 && m >= 0 && idle < IDLE_MAX;
}

static void part_in_order(Conversation *c)
{
    int state[2] = { QIO_CHANNEL_ERR_BLOCK, QIO_CHANNEL_ERR_BLOCK };

    for (int idle = 0; idle < IDLE_MAX; idle = moved(c) ? 0 : idle + 1) {
        for (int i = 0; i < 2; i++) {
            QIOChannelClass *k = QIO_CHANNEL_GET_CLASS(c->end[i]);
            Error *err = NULL;

            if (state[i] == QIO_CHANNEL_ERR_BLOCK) {
                state[i] = k->io_bye ? k->io_bye(c->end[i], &err) : 0;
            }
            if (err) {
                note_error(c, i, "bye", err);
            }
        }
        if (state[0] != QIO_CHANNEL_ERR_BLOCK && state[1] != QIO_CHANNEL_ERR_BLOCK) {
            break;
        }
    }
    for (int i = 0; i < 2; i++) {
        note(c, i, state[i] == 0 ? "bye" : "no bye");
    }
}

static void part(Conversation *c)
{
    int n = 0;

    if (c->ending == END_BYE) {
        part_in_order(c);
        return;
    }
    /* What is held back goes out first, so that the bytes are the same however it is cut. */
    for (int i = 0; i < IDLE_MAX; i++) {
        qio_channel_wait_timeout(c->end[0], G_IO_OUT, 0, NULL);
    }
    if (c->ending == END_CUT) {
        memory_cut(c->bottom[0]);
    } else {
        qio_channel_close(c->end[0], NULL);
    }
    for (int idle = 0; n >= 0 && idle < IDLE_MAX; idle = moved(c) ? 0 : idle + 1) {
        n = hear(c, 1);
    }
    if (n >= 0) {
        note(c, 1, "stuck");
    }
}

char *conversation_run(uint32_t number, StackFunc stack, const Chunking *chunking, size_t read[2])
{
    Conversation c = { 0 };
    bool going = true;

    invent(&c, number);
    memory_pair(c.bottom, chunking);
    for (int i = 0; i < 2; i++) {
        c.end[i] = qio_object_ref(c.bottom[i]);
    }
    stack(c.end);
    for (int i = 0; i < 2; i++) {
        qio_channel_set_blocking(c.end[i], false, NULL);
    }
    for (int i = 0; i < c.nturns && going; i++) {
        going = take_turn(&c, &c.turns[i]);
    }
    if (going) {
        part(&c);
    }
    for (int i = 0; i < 2; i++) {
        if (read) {
            read[i] = memory_read(c.bottom[i]);
        }
        qio_channel_close(c.end[i], NULL);
        qio_object_unref(c.end[i]);
        qio_object_unref(c.bottom[i]);
        g_checksum_free(c.seen[i]);
    }
    g_rand_free(c.random);
    return g_string_free(c.text, FALSE);
}

static void compare(uint32_t number, StackFunc stack, const Chunking *chunking, const char *whole)
{
    char *text = conversation_run(number, stack, chunking, NULL);

    if (strcmp(text, whole) != 0) {
        test_note("conversation %u, chunking %d at %zu seed %u", number, chunking->kind,
                  chunking->at, chunking->seed);
    }
    CHECK_STR(text, whole);
    g_free(text);
}

void conversation_check(uint32_t number, StackFunc stack, unsigned splits, unsigned seeds)
{
    Chunking chunking = { CHUNK_WHOLE };
    size_t read[2];
    char *whole = conversation_run(number, stack, &chunking, read);
    size_t most = MAX(read[0], read[1]);

    test_note("conversation %u: %s", number, whole);
    CHECK(strstr(whole, "stuck") == NULL);
    chunking.kind = CHUNK_BYTES;
    compare(number, stack, &chunking, whole);
    chunking.kind = CHUNK_SPLIT;
    for (unsigned i = 0; i < splits; i++) {
        chunking.at = 1 + (size_t)i * most / splits;
        compare(number, stack, &chunking, whole);
    }
    chunking.kind = CHUNK_RANDOM;
    for (chunking.seed = 1; chunking.seed <= seeds; chunking.seed++) {
        compare(number, stack, &chunking, whole);
    }
    g_free(whole);
}

void conversation_check_splits(uint32_t number, StackFunc stack, unsigned part, unsigned parts)
{
    Chunking chunking = { CHUNK_WHOLE };
    size_t read[2];
    char *whole = conversation_run(number, stack, &chunking, read);
    size_t most = MAX(read[0], read[1]);

    CHECK(strstr(whole, "stuck") == NULL);
    chunking.kind = CHUNK_SPLIT;
    for (chunking.at = 1 + part; chunking.at <= most; chunking.at += parts) {
        compare(number, stack, &chunking, whole);
    }
    g_free(whole);
}
