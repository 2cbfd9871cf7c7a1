/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/sys.c: the seam's table of direct calls, in test builds only.
 *
 * Owns: qio_sys, the table in force.  Rule: swapped by a test before it starts threads.
 */
#include "base/sys.h"

#ifdef QIO_SYS_SEAM

#define QIO_SYS_ENTRY(ret, name, params, args) .name = qio_direct_##name,
const QIOSysTable qio_sys_direct = {
    QIO_SYS_CALLS(QIO_SYS_ENTRY)
};
#undef QIO_SYS_ENTRY

const QIOSysTable *qio_sys = &qio_sys_direct;

#else
typedef int qio_sys_has_no_table;   /* a translation unit is never empty */
#endif
