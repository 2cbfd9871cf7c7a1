/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-abi-error.c: qioh_error for callers of any age, strings that are copied out, and the
 * layouts that every foreign-function interface relies on.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/uio.h>

#include "abi/error.h"
#include "runner.h"

TEST(struct_layouts_are_what_the_header_promises)
{
    CHECK_INT(sizeof(qioh_error), ==, 512);
    CHECK_INT(offsetof(qioh_error, struct_size), ==, 0);
    CHECK_INT(offsetof(qioh_error, code), ==, 4);
    CHECK_INT(offsetof(qioh_error, sys_errno), ==, 8);
    CHECK_INT(offsetof(qioh_error, domain), ==, 12);
    CHECK_INT(offsetof(qioh_error, number), ==, 16);
    CHECK_INT(offsetof(qioh_error, bytes), ==, 24);
    CHECK_INT(offsetof(qioh_error, message), ==, 32);
    CHECK_INT(sizeof(qioh_iovec), ==, sizeof(struct iovec));
    CHECK_INT(offsetof(qioh_iovec, base), ==, offsetof(struct iovec, iov_base));
    CHECK_INT(offsetof(qioh_iovec, len), ==, offsetof(struct iovec, iov_len));
    CHECK_INT(sizeof(qioh_event), ==, 64);
    CHECK_INT(offsetof(qioh_event, kind), ==, 4);
    CHECK_INT(offsetof(qioh_event, condition), ==, 8);
    CHECK_INT(offsetof(qioh_event, status), ==, 12);
    CHECK_INT(offsetof(qioh_event, cookie), ==, 16);
    CHECK_INT(offsetof(qioh_event, bytes), ==, 24);
    CHECK_INT(offsetof(qioh_event, channel), ==, 32);
    CHECK_INT(offsetof(qioh_event, listener), ==, 56);
}

/* An area with a pattern behind the part that the caller says it has. */
typedef union Area {
    qioh_error error;
    unsigned char bytes[sizeof(qioh_error) + 64];
} Area;

static void fill_area(Area *area, uint32_t struct_size)
{
    memset(area->bytes, 0xa5, sizeof(area->bytes));
    area->error.struct_size = struct_size;
}

TEST(nothing_behind_struct_size_is_touched)
{
    Area area;

    for (uint32_t size = 1; size <= sizeof(area.bytes); size++) {
        uint32_t end = size > sizeof(qioh_error) ? (uint32_t)sizeof(qioh_error) : size;

        test_note("struct_size %u", size);
        fill_area(&area, size);
        CHECK_INT(qioh_channel_get_kind(NULL, &area.error), ==, QIOH_E_BADHANDLE);
        CHECK_INT(area.error.struct_size, ==, size);
        for (size_t i = end > 4 ? end : 4; i < sizeof(area.bytes); i++) {
            CHECK_INT(area.bytes[i], ==, 0xa5);
        }
        if (size >= 8) {
            CHECK_INT(area.error.code, ==, QIOH_E_BADHANDLE);
        }
        if (size > 32) {
            CHECK(memchr(area.error.message, '\0', end - 32) != NULL);
        }
    }
}

TEST(no_field_is_written_in_part)
{
    Area area;

    fill_area(&area, 20);
    CHECK_INT(qioh_channel_get_kind(NULL, &area.error), ==, QIOH_E_BADHANDLE);
    CHECK_INT(area.error.domain, ==, QIOH_DOMAIN_LIBRARY);
    for (int i = 16; i < 24; i++) {
        CHECK_INT(area.bytes[i], ==, 0xa5);
    }
}

TEST(struct_size_0_means_all_of_it)
{
    Area area;

    fill_area(&area, 0);
    CHECK_INT(qioh_channel_get_kind(NULL, &area.error), ==, QIOH_E_BADHANDLE);
    CHECK_INT(area.error.struct_size, ==, 0);
    CHECK_STR_HAS(area.error.message, "NULL");
    CHECK_INT(area.bytes[sizeof(qioh_error)], ==, 0xa5);
}

TEST(a_cut_message_ends_on_a_character)
{
    qioh_error error = { .struct_size = 32 + 8 };
    char text[] = "abcdef\xc3\xa4xyz";          /* a two-byte character at 6 and 7 */

    abi_fail(&error, QIOH_E_INVAL, "%s", text);
    CHECK_STR(error.message, "abcdef");
    error.struct_size = 32 + 9;
    abi_fail(&error, QIOH_E_INVAL, "%s", text);
    CHECK_STR(error.message, "abcdef\xc3\xa4");
}

TEST(a_long_message_is_cut_to_fit)
{
    qioh_error error = { 0 };
    char text[2000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    abi_fail(&error, QIOH_E_INVAL, "%s", text);
    CHECK_INT(strlen(error.message), ==, sizeof(error.message) - 1);
}

TEST(success_and_again_leave_the_error_alone)
{
    qioh_channel *pair[2];
    qioh_error error;
    qioh_error before;
    char buf[4];

    memset(&error, 0x5a, sizeof(error));
    error.struct_size = 0;
    before = error;
    CHECK_INT(qioh_channel_new_pair(pair, &error), ==, 0);
    CHECK_INT(qioh_channel_try_read(pair[0], buf, sizeof(buf), &error), ==, QIOH_E_AGAIN);
    CHECK_INT(qioh_channel_try_write(pair[0], "abc", 3, &error), ==, 3);
    CHECK_INT(qioh_channel_read(pair[1], buf, sizeof(buf), &error), ==, 3);
    CHECK_MEM(&error, &before, sizeof(error));
    qioh_channel_unref(pair[0]);
    qioh_channel_unref(pair[1]);
}

TEST(a_failed_call_of_the_system_carries_its_errno)
{
    qioh_error error = { .bytes = 77, .number = 77, .domain = 77 };

    CHECK_PTR(qioh_channel_new_file("/nonexistent/x", "r", 0, &error), ==, NULL);
    CHECK_INT(error.code, ==, QIOH_E_SYSTEM);
    CHECK_INT(error.sys_errno, ==, ENOENT);
    CHECK_INT(error.domain, ==, QIOH_DOMAIN_ERRNO);
    CHECK_INT(error.number, ==, ENOENT);
    CHECK_INT(error.bytes, ==, 0);
    CHECK_STR_HAS(error.message, "/nonexistent/x");
}

TEST(strings_are_copied_out_whole_or_not_at_all)
{
    qioh_channel *channel = qioh_channel_new_null(NULL);
    char buf[8] = "zzzzzzz";
    qioh_error error = { 0 };

    CHECK_INT(qioh_channel_set_name(channel, "abcd", NULL), ==, 0);
    CHECK_INT(qioh_channel_get_name(channel, NULL, 0, NULL), ==, 4);
    CHECK_INT(qioh_channel_get_name(channel, buf, 5, NULL), ==, 4);
    CHECK_STR(buf, "abcd");
    strcpy(buf, "zzzzzzz");
    CHECK_INT(qioh_channel_get_name(channel, buf, 4, &error), ==, QIOH_E_TRUNCATED);
    CHECK_STR(buf, "zzzzzzz");
    CHECK_STR_HAS(error.message, "5");
    CHECK_INT(qioh_channel_get_name(channel, buf, 0, &error), ==, QIOH_E_TRUNCATED);
    CHECK_INT(qioh_channel_get_name(channel, NULL, 4, &error), ==, QIOH_E_INVAL);
    CHECK_INT(qioh_channel_set_name(channel, NULL, NULL), ==, 0);
    CHECK_INT(qioh_channel_get_name(channel, buf, 1, NULL), ==, 0);
    CHECK_STR(buf, "");
    qioh_channel_unref(channel);
}

TEST(every_code_has_a_name)
{
    char name[64];

    for (int code = 0; code >= QIOH_E_TLS_TRUNCATED; code--) {
        snprintf(name, sizeof(name), "%s", qioh_status_name(code));
        CHECK_STR_HAS(name, code == 0 ? "QIOH_OK" : "QIOH_E_");
    }
    CHECK_STR(qioh_status_name(QIOH_E_BUSY), "QIOH_E_BUSY");
    CHECK_STR(qioh_status_name(17), "QIOH_OK");
    CHECK_STR(qioh_status_name(-22), "unknown status");
    CHECK_STR(qioh_status_name(INT32_MIN), "unknown status");
    CHECK_INT(qioh_abi_version(), ==, QIOH_ABI_VERSION);
    CHECK(qioh_version_string()[0] >= '0' && qioh_version_string()[0] <= '9');
}
