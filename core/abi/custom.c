/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/custom.c: channels that the caller writes, over a struct of functions.
 *
 * Owns: the class, making one, and the exactly-once release.  Rules: the caller's struct is copied
 * as far as both sides know it, whole members only; release is called when nothing of the channel
 * is left: by the next dispatch or the close of its loop, without one at the end of the outermost
 * call of the thread that drops the last hold; also when making the channel fails.
 */
#include "abi/custom.h"
#include "abi/release.h"

#include <string.h>

/* The members before the functions. */
#define OPS_HEAD offsetof(qioh_channel_ops, readv)

#define OPS_FLAGS ((uint32_t)QIOH_OPS_FD_PASS)

G_STATIC_ASSERT(sizeof(qioh_channel_ops) == 72);

/* ---- the class ---- */

static int custom_close(QIOChannel *ioc, Error **errp)
{
    abi_custom_drop_stage((AbiCustom *)ioc);
    return abi_custom_call_close((AbiCustom *)ioc, errp);
}

static int custom_shutdown(QIOChannel *ioc, QIOChannelShutdown how, Error **errp)
{
    return abi_custom_call_shutdown((AbiCustom *)ioc, (uint32_t)how, errp);
}

static off_t custom_seek(QIOChannel *ioc, off_t offset, int whence, Error **errp)
{
    return abi_custom_call_seek((AbiCustom *)ioc, offset, whence, errp);
}

static int custom_flush(QIOChannel *ioc, Error **errp)
{
    return abi_custom_call_flush((AbiCustom *)ioc, errp);
}

static void custom_instance_init(Object *obj)
{
    AbiCustom *custom = (AbiCustom *)obj;

    pthread_mutex_init(&custom->lock, NULL);
    atomic_init(&custom->software, true);
    atomic_init(&custom->state, G_IO_IN | G_IO_OUT);   /* either may be answered */
    custom->epoch = qio_fork_epoch();
}

static void custom_instance_finalize(Object *obj)
{
    AbiCustom *custom = (AbiCustom *)obj;

    abi_scope_enter();
    qio_error_free(atomic_load(&custom->owed));
    abi_custom_drop_stage(custom);
    if (!custom->loop) {
        abi_release_later(custom->ops.release, custom->user_data);
    } else {
        /* The loop of a forked child's parent releases there alone. */
        if (custom->epoch == qio_fork_epoch()) {
            abi_loop_release_soon(custom->loop, custom->ops.release, custom->user_data);
        }
        qio_loop_let_go(custom->notifier);
        abi_loop_unref(custom->loop);
    }
    pthread_mutex_destroy(&custom->lock);
    abi_scope_leave();
}

static void custom_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_class = (QIOChannelClass *)klass;

    ioc_class->io_readv = abi_custom_readv;
    ioc_class->io_writev = abi_custom_writev;
    ioc_class->io_close = custom_close;
    ioc_class->io_shutdown = custom_shutdown;
    ioc_class->io_seek = custom_seek;
    ioc_class->io_flush = custom_flush;
    ioc_class->io_poll = abi_custom_poll;
    ioc_class->io_advance = abi_custom_advance;
    ioc_class->io_waits_for_itself = abi_custom_waits_for_itself;
}

static const TypeInfo custom_type = {
    .name = TYPE_ABI_CUSTOM,
    .parent = TYPE_QIO_CHANNEL,
    .instance_size = sizeof(AbiCustom),
    .instance_init = custom_instance_init,
    .instance_finalize = custom_instance_finalize,
    .class_init = custom_class_init,
};

static void __attribute__((constructor)) custom_register(void)
{
    qio_type_register_static(&custom_type);
}

/* ---- making one ---- */

/* Copies the members that caller and library both know; a part of a function is none. */
static void copy_ops(qioh_channel_ops *to, const qioh_channel_ops *from)
{
    size_t size = MIN(from->struct_size, sizeof(*to));

    memset(to, 0, sizeof(*to));
    memcpy(to, from, size < OPS_HEAD ? sizeof(from->struct_size)
                                     : OPS_HEAD + (size - OPS_HEAD) / sizeof(void *) *
                                                      sizeof(void *));
}

static int32_t check_ops(const qioh_channel_ops *ops, qioh_error *error)
{
    if (ops->struct_size < OPS_HEAD) {
        return abi_fail(error, QIOH_E_INVAL, "ops->struct_size is %u; it is "
                        "sizeof(qioh_channel_ops), %zu here", ops->struct_size, sizeof(*ops));
    }
    if (ops->flags & ~OPS_FLAGS) {
        return abi_fail(error, QIOH_E_INVAL, "ops->flags are 0x%x; only QIOH_OPS_FD_PASS (1) is "
                        "known", ops->flags);
    }
    return 0;
}

/* Has the release from here on, also on failure. */
static qioh_channel *make(AbiLoop *loop, const qioh_channel_ops *ops, void *user_data,
                          qioh_error *error)
{
    AbiCustom *custom = (AbiCustom *)qio_object_new(TYPE_ABI_CUSTOM);

    custom->ops = *ops;
    custom->user_data = user_data;
    if (loop) {
        custom->loop = abi_loop_ref(loop);
        custom->notifier = qio_loop_keep(loop->ctx);
    }
    if (ops->shutdown) {
        qio_channel_set_feature(&custom->parent, QIO_CHANNEL_FEATURE_SHUTDOWN);
    }
    if (ops->flags & QIOH_OPS_FD_PASS) {
        qio_channel_set_feature(&custom->parent, QIO_CHANNEL_FEATURE_FD_PASS);
    }
    return abi_channel_wrap(&custom->parent, NULL, error);
}

static qioh_channel *make_in(qioh_loop *loop, const qioh_channel_ops *ops, void *user_data,
                             qioh_error *error)
{
    qioh_channel *channel = NULL;
    AbiLoop *object;

    if (abi_loop_pin(loop, &object, error) < 0) {
        abi_release_later(ops->release, user_data);
        return NULL;
    }
    if (check_ops(ops, error) < 0) {
        abi_loop_release_soon(object, ops->release, user_data);
    } else if (atomic_load(&object->closed)) {
        abi_fail(error, QIOH_E_CLOSED, "the loop is closed");
        abi_loop_release_soon(object, ops->release, user_data);
    } else {
        channel = make(object, ops, user_data, error);
    }
    abi_unpin(loop);
    return channel;
}

qioh_channel *qioh_channel_new_custom(qioh_loop *loop, const qioh_channel_ops *ops,
                                      void *user_data, qioh_error *error)
{
    qioh_channel *channel = NULL;
    qioh_channel_ops copy;

    if (!ops) {
        abi_fail(error, QIOH_E_INVAL, "ops is NULL");
        return NULL;
    }
    copy_ops(&copy, ops);
    abi_scope_enter();
    if (loop) {
        channel = make_in(loop, &copy, user_data, error);
    } else if (check_ops(&copy, error) < 0) {
        abi_release_later(copy.release, user_data);
    } else {
        channel = make(NULL, &copy, user_data, error);
    }
    abi_scope_leave();
    return channel;
}

/* ---- the side that implements it ---- */

static int32_t notify(QIOChannel *ioc, uint32_t condition, qioh_error *error)
{
    static GType type;

    if (abi_channel_is(ioc, TYPE_ABI_CUSTOM, &type)) {
        abi_custom_notify((AbiCustom *)ioc, condition);
        return 0;
    }
    if (abi_channel_kind(ioc) == QIOH_CHANNEL_OTHER) {
        qio_channel_notify(ioc, condition);
        return 0;
    }
    return abi_fail(error, QIOH_E_WRONGTYPE, "channel: one of type '%s' knows itself when it is "
                    "ready; notify is for custom channels", G_OBJECT_TYPE_NAME(ioc));
}

qioh_status qioh_channel_notify(qioh_channel *channel, uint32_t condition, qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_check_condition(condition, error);

    if (status == 0) {
        status = abi_channel_enter(channel, QIO_USE_ONE, &ioc, error);
    }
    if (status != 0) {
        return status;
    }
    status = notify(ioc, condition, error);
    abi_channel_leave(channel, ioc, QIO_USE_ONE);
    return status;
}
