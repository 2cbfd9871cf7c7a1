/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ws-talk.h: a conversation with a WebSocket of ours, written down: what the peer sends, what comes
 * out of our end, and what the peer then gets.
 *
 * Owns: Talk and talk_run().  The peer is a script in memory; its frames are written and read here,
 * not by the library.  Frames are words of a text, separated by spaces:
 *     81:hello        a first byte (FIN, RSV, opcode) and the payload; %XX is a byte
 *     81*300:ab       the payload 300 times
 *     =8101           bytes as they are
 * What comes out is one text: t(hello) b(...) for messages, t(hel~ for one that does not end,
 * s(...) for a stream, pong(...), close(CODE reason), end, error(NUMBER).
 */
#ifndef TESTS_WS_TALK_H
#define TESTS_WS_TALK_H

#include "ws-util.h"

typedef struct Talk {
    const char *name;
    const char *says;           /* the peer, after the handshake */
    const char *hears;          /* what comes out of our end */
    const char *answers;        /* what the peer gets: pong(...) close(CODE), without the reason */
    const char *options;        /* "key=value key=value"; messages unless ws-mode is there */
    const char *extensions;     /* of the handshake, or NULL */
    bool leaves;                /* the peer's bytes end behind what it says */
} Talk;

/* How the peer's bytes are cut. */
typedef struct TalkCut {
    size_t at;                  /* in two there; 0 = not */
    size_t every;               /* in pieces of that length; 0 = not */
} TalkCut;

/* Runs it and checks both texts. */
void talk_run(const Talk *talk, bool server, TalkCut cut);
/* Runs any bytes in the place of talk->says.  Gives both texts, for the caller to free. */
void talk_outcome(const Talk *talk, const GByteArray *says, bool server, TalkCut cut, char **heard,
                  char **answered);
/* The same whole, byte by byte, and, if it is short, in every two parts. */
void talk_run_all(const Talk *talk, bool server);
/* How many bytes the peer sends after the handshake. */
size_t talk_length(const Talk *talk, bool server);

/* Appends the frames of a text. */
void talk_frames(GByteArray *to, const char *text, bool masked);

#endif
