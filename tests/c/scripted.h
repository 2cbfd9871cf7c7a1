/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scripted.h: a channel whose peer is a script, in memory.
 *
 * Owns: Scripted, a class with io_poll and io_advance and no descriptor: what it reads is a list
 * of steps (bytes, with or without descriptors; would block; end; error), what it writes goes
 * to a byte array, `write_room` bytes at a time.  Any chunking of a stream is a list of steps.
 * Rule: a "would block" step is passed when a read has met it, which is notified, so a waiting
 * reader goes on.
 */
#ifndef TESTS_SCRIPTED_H
#define TESTS_SCRIPTED_H

#include <qio/channel.h>

#define TYPE_SCRIPTED "test-scripted"

typedef enum StepKind {
    STEP_BYTES,
    STEP_BLOCK,         /* one ERR_BLOCK, then the next step */
    STEP_STALL,         /* ERR_BLOCK until scripted_go() */
    STEP_END,           /* the end, for ever */
    STEP_ERROR,         /* one error ECONNRESET */
} StepKind;

typedef struct Scripted {
    QIOChannel parent;
    GArray *steps;
    guint next;
    GByteArray *written;
    size_t write_room;  /* bytes that one write takes; 0 = would block */
    bool open_gate;     /* scripted_go() was called */
    int closes;         /* how often io_close ran */
    int reads;          /* calls of io_readv */
} Scripted;

Scripted *scripted_new(void);
void scripted_bytes(Scripted *s, const void *bytes, size_t len);
void scripted_text(Scripted *s, const char *text);
/* Bytes that come with nfds copies of a descriptor of /dev/null; sets FD_PASS. */
void scripted_fds(Scripted *s, const char *text, size_t nfds);
void scripted_step(Scripted *s, StepKind kind);
/* Lets a STALL pass and wakes who waits.  Any thread. */
void scripted_go(Scripted *s);

#endif
