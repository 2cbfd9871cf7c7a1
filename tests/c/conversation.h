/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conversation.h: what two ends of a stack say to each other, and what came of it, as a text.
 *
 * Owns: Conversation, made from a number; conversation_run() drives both ends by turns, in one
 * thread, and writes down all that each end has seen.  The same number gives the same words, so two
 * texts that differ differ by the stack or its chunks.
 */
#ifndef TESTS_CONVERSATION_H
#define TESTS_CONVERSATION_H

#include <stdint.h>
#include "memory.h"

/* Puts a stack's layers on the two bottoms, whose references it takes over. */
typedef void (*StackFunc)(QIOChannel *end[2]);

/* Runs conversation `number` over the stack and this chunking.  Returns: the text, to be freed.
 * read[] tells how many bytes each bottom has read; NULL = never mind. */
char *conversation_run(uint32_t number, StackFunc stack, const Chunking *chunking, size_t read[2]);

/* Runs it whole, byte by byte, cut in two at `splits` places and by `seeds` seeds; fails the test
 * at the first that differs. */
void conversation_check(uint32_t number, StackFunc stack, unsigned splits, unsigned seeds);
/* Cuts it in two at every place of the stream; this is one part of that, 0 to parts - 1. */
void conversation_check_splits(uint32_t number, StackFunc stack, unsigned part, unsigned parts);

#endif
