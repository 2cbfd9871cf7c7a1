/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/qemu-names.h: the unprefixed spellings that code written for QEMU's channel API
 * uses.  Macros only, so that the library exports nothing but qio_ and qioh_ names.
 * Include it last, and only in such code.
 */
#ifndef QIO_QEMU_NAMES_H
#define QIO_QEMU_NAMES_H

#include <qio/qio.h>

#define object_new(name)                qio_object_new(name)
#define object_ref(obj)                 qio_object_ref(obj)
#define object_unref(obj)               qio_object_unref(obj)
#define object_get_typename(obj)        qio_object_get_typename(obj)
#define type_register_static(info)      qio_type_register_static(info)
#define type_register(info)             qio_type_register_static(info)
#define type_init(function) \
    static void __attribute__((constructor)) qio_type_init_##function(void) { function(); }

#define error_abort                     qio_error_abort
#define error_fatal                     qio_error_fatal
#define error_setg(errp, ...)           qio_error_set((errp), QIO_ERROR_INVAL, __VA_ARGS__)
#define error_setg_errno(errp, e, ...)  qio_error_set_errno((errp), (e), __VA_ARGS__)
#define error_get_pretty(err)           qio_error_get_pretty(err)
#define error_free(err)                 qio_error_free(err)
#define error_copy(err)                 qio_error_copy(err)
#define error_propagate(dst, err)       qio_error_propagate((dst), (err))
#define error_report_err(err)           qio_error_report(err)

#define qemu_coroutine_create(entry, opaque) qio_coroutine_create((entry), (opaque))
#define qemu_coroutine_enter(co)        qio_coroutine_enter(co)
#define qemu_coroutine_yield()          qio_coroutine_yield()
#define qemu_coroutine_self()           qio_coroutine_self()
#define qemu_in_coroutine()             qio_in_coroutine()
#define coroutine_fn

#define aio_context_new(errp)           qio_aio_context_new(errp)
#define aio_context_ref(ctx)            qio_aio_context_ref(ctx)
#define aio_context_unref(ctx)          qio_aio_context_unref(ctx)
#define aio_poll(ctx, blocking)         qio_aio_context_poll((ctx), (blocking))
#define aio_notify(ctx)                 qio_aio_context_notify(ctx)
#define aio_get_g_source(ctx)           qio_aio_context_get_g_source(ctx)
#define qemu_get_aio_context()          qio_get_main_aio_context()
#define aio_co_schedule(ctx, co)        qio_aio_co_schedule((ctx), (co))
#define aio_set_fd_handler(ctx, fd, is_external, io_read, io_write, io_poll, opaque) \
    ((void)(is_external), (void)(io_poll), \
     qio_aio_context_set_fd_handler((ctx), (fd), (io_read), (io_write), (opaque)))

#endif
