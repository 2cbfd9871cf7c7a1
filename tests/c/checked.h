/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checked.h: the table of system calls under every C test, see checked.c. */
#ifndef TESTS_CHECKED_H
#define TESTS_CHECKED_H

#include "base/sys.h"

extern QIOSysTable test_sys_checked;

#endif
