/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture-util.h: what the scenarios of the torture share.
 *
 * Owns: the judgement of one operation, and of the end of a channel.
 * Rules of a scenario: it makes what it needs, uses it, closes it.  An operation either
 * completes, and then its result is checked, or reports an error, and then something hard
 * must have struck; clean-up always runs to its end.
 * The numbers of runs that the scenarios ask for are counts measured when they were written,
 * less a margin: a class that went past the seam would bring fewer.
 */
#ifndef TESTS_TORTURE_UTIL_H
#define TESTS_TORTURE_UTIL_H

#include "runner.h"
#include "seam.h"
#include "torture.h"

#include <qio/channel.h>

#define TEXT "the quick brown fox"
#define TEXT_LEN ((ssize_t)sizeof(TEXT) - 1)

/* Says whether an operation went well; if not, there is an error and reason for one. */
static inline bool went_well(bool good, Error **err)
{
    if (good) {
        CHECK_PTR(*err, ==, NULL);
        return true;
    }
    CHECK_PTR(*err, !=, NULL);
    test_note("%s", qio_error_get_pretty(*err));
    CHECK(torture_may_fail());
    qio_error_free(*err);
    *err = NULL;
    return false;
}

/* Closes and drops; a close may report its own failure, but the channel is closed then. */
static inline void put_away(void *ioc)
{
    Error *err = NULL;

    if (ioc == NULL) {
        return;
    }
    went_well(qio_channel_close(ioc, &err) == 0, &err);
    CHECK(qio_channel_is_closed(ioc));
    CHECK_INT(qio_channel_close(ioc, NULL), ==, 0);
    qio_object_unref(ioc);
}

/* Sends the text one way and checks it at the other end. */
static inline bool exchange(void *from, void *to)
{
    Error *err = NULL;
    char buf[TEXT_LEN];

    if (!went_well(qio_channel_write_all(from, TEXT, TEXT_LEN, &err) == 0, &err) ||
        !went_well(qio_channel_read_all(to, buf, TEXT_LEN, &err) == 0, &err)) {
        return false;
    }
    CHECK_MEM(buf, TEXT, TEXT_LEN);
    return true;
}

#endif
