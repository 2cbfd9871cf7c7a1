/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/closure.h: where closures get memory that may be executed, for tests in which it is refused.
 *
 * Owns: abi_closure_alloc, ffi_closure_alloc() unless a test has changed it.
 */
#ifndef QIO_ABI_CLOSURE_H
#define QIO_ABI_CLOSURE_H

#include <stddef.h>

extern void *(*abi_closure_alloc)(size_t size, void **code);

#endif
