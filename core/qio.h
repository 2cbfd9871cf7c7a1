/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qio/qio.h: all of the C API in one include.  Owns nothing. */
#ifndef QIO_QIO_H
#define QIO_QIO_H

#include <qio/address.h>
#include <qio/aio.h>
#include <qio/channel-buffer.h>
#include <qio/channel-command.h>
#include <qio/channel-file.h>
#include <qio/channel-null.h>
#include <qio/channel-socket.h>
#include <qio/channel-tls.h>
#include <qio/channel-websock.h>
#include <qio/channel.h>
#include <qio/coroutine.h>
#include <qio/dns-resolver.h>
#include <qio/error.h>
#include <qio/net-listener.h>
#include <qio/object.h>
#include <qio/options.h>
#include <qio/relay.h>
#include <qio/task.h>
#include <qio/tls-creds.h>
#include <qio/uri.h>

#endif
