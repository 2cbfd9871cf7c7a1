/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/command.h: telling commands from other channels.
 */
#ifndef QIO_ABI_COMMAND_H
#define QIO_ABI_COMMAND_H

#include <qio/channel-command.h>
#include <qio/qioh.h>
#include <stdbool.h>

/* Whether a pinned channel is a command; if not, NOTSUP. */
bool abi_is_command(QIOChannel *ioc, qioh_error *error);

#endif
