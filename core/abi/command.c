/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/command.c: child processes.
 *
 * Owns: starting one from argv and options, and asking about its end.  These calls only pin:
 * what is known of a child stays readable after close.
 */
#include "abi/command.h"
#include "abi/channel.h"
#include "abi/options.h"

#include "net/net-priv.h"

qioh_channel *qioh_channel_new_command(const char *const *argv, qioh_options *options,
                                       qioh_error *error)
{
    QIOOptions *settings;
    Error *err = NULL;
    QIOChannel *ioc;

    if (!argv || !argv[0]) {
        abi_fail(error, QIOH_E_INVAL, "argv has no program");
        return NULL;
    }
    if (abi_options_copy(options, &settings, error) < 0) {
        return NULL;
    }
    ioc = (QIOChannel *)qio_channel_command_new_options(argv, settings, &err);
    qio_options_free(settings);
    return abi_channel_wrap(ioc, err, error);
}

bool abi_is_command(QIOChannel *ioc, qioh_error *error)
{
    static GType command_type;

    if (abi_channel_is(ioc, TYPE_QIO_CHANNEL_COMMAND, &command_type)) {
        return true;
    }
    abi_fail(error, QIOH_E_NOTSUP, "a channel of type '%s' is no command",
             G_OBJECT_TYPE_NAME(ioc));
    return false;
}

static int32_t command_pin(qioh_channel *channel, QIOChannelCommand **command,
                           qioh_error *error)
{
    QIOChannel *ioc;
    int32_t status = abi_channel_pin(channel, &ioc, error);

    if (status != 0) {
        return status;
    }
    if (!abi_is_command(ioc, error)) {
        abi_unpin(channel);
        return QIOH_E_NOTSUP;
    }
    *command = (QIOChannelCommand *)ioc;
    return 0;
}

qioh_status qioh_channel_get_pid(qioh_channel *channel, qioh_error *error)
{
    QIOChannelCommand *command;
    int32_t status = command_pin(channel, &command, error);

    if (status != 0) {
        return status;
    }
    status = qio_channel_command_get_pid(command);
    abi_unpin(channel);
    return status;
}

qioh_status qioh_channel_kill(qioh_channel *channel, int32_t signum, qioh_error *error)
{
    QIOChannelCommand *command;
    Error *err = NULL;
    int32_t status = command_pin(channel, &command, error);

    if (status != 0) {
        return status;
    }
    if (qio_channel_command_kill(command, signum, &err) < 0) {
        status = abi_take_error(error, err);
    }
    abi_unpin(channel);
    return status;
}

static int32_t check_outputs(const int32_t *exit_status, const int32_t *signum,
                             qioh_error *error)
{
    if (!exit_status || !signum) {
        return abi_fail(error, QIOH_E_INVAL, "%s is NULL", exit_status ? "signum" : "exit_status");
    }
    return 0;
}

qioh_status qioh_channel_get_exit_status(qioh_channel *channel, int32_t *exit_status,
                                         int32_t *signum, qioh_error *error)
{
    QIOChannelCommand *command;
    int ended, number, by_signal;
    int32_t status = check_outputs(exit_status, signum, error);

    if (status == 0) {
        status = command_pin(channel, &command, error);
    }
    if (status != 0) {
        return status;
    }
    ended = qio_channel_command_get_exit_status(command, &number, &by_signal);
    abi_unpin(channel);
    if (!ended) {
        return QIOH_E_AGAIN;
    }
    *exit_status = number;
    *signum = by_signal;
    return 0;
}

qioh_status qioh_channel_wait_exit(qioh_channel *channel, int32_t timeout_ms,
                                   int32_t *exit_status, int32_t *signum, qioh_error *error)
{
    QIOChannelCommand *command;
    Error *err = NULL;
    int number, by_signal;
    int32_t status = check_outputs(exit_status, signum, error);

    if (status == 0) {
        status = abi_check_timeout(timeout_ms, error);
    }
    if (status == 0) {
        status = command_pin(channel, &command, error);
    }
    if (status != 0) {
        return status;
    }
    status = qio_channel_command_wait_exit(command, timeout_ms, true, &err);
    if (status > 0) {
        qio_channel_command_get_exit_status(command, &number, &by_signal);
        *exit_status = number;
        *signum = by_signal;
    }
    abi_unpin(channel);
    return status < 0 ? abi_take_error(error, err) : status;
}

qioh_channel *qioh_channel_take_stderr(qioh_channel *channel, qioh_error *error)
{
    QIOChannelCommand *command;
    Error *err = NULL;
    QIOChannel *ioc;

    if (command_pin(channel, &command, error) < 0) {
        return NULL;
    }
    ioc = qio_channel_command_take_stderr(command, &err);
    abi_unpin(channel);
    return abi_channel_wrap(ioc, err, error);
}
