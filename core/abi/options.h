/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/options.h: the settings behind an options handle.
 *
 * Owns: reading them.  Rule: whoever uses options takes a copy, so that a call that waits does
 * not keep them, and a second thread finds BUSY only while another changes them.
 */
#ifndef QIO_ABI_OPTIONS_H
#define QIO_ABI_OPTIONS_H

#include <qio/options.h>
#include <qio/qioh.h>
#include <qio/tls-creds.h>

/* Sets the key tls-creds; 0, or a code. */
int32_t abi_options_set_creds(qioh_options *options, QIOTlsCreds *creds, qioh_error *error);
/* A copy for the caller to qio_options_free(); NULL options give NULL.  0, or a code. */
int32_t abi_options_copy(qioh_options *options, QIOOptions **copy, qioh_error *error);

#endif
