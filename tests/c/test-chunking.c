/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-chunking.c: however a stream is cut into pieces, a stack gives the same result.
 *
 * Rule: the transport is memory.h's, so what is cut where is the test's choice, and a wake-up that
 * gets lost shows as a conversation that is stuck.
 */
#include "conversation.h"
#include "runner.h"

static void plain(QIOChannel *end[2])
{
}

TEST(plain_channels_give_the_same_however_the_stream_is_cut)
{
    for (uint32_t number = 0; number < 40; number++) {
        conversation_check(number, plain, 20, 10);
    }
}
