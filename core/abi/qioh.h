/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qio/qioh.h: the flat ABI for C and C++: guard, includes and linkage around qioh-abi.h. */
#ifndef QIOH_H
#define QIOH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <qio/qioh-abi.h>

#ifdef __cplusplus
}
#endif
#endif
