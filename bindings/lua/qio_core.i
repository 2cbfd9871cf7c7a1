/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_core.i: the Lua module qio.core: the ABI function by function, without the prefix, and
 * what qio_core_io.c adds.  Programs use `require "qio"`, which is written on top of it.
 *
 * What is left out of the ABI, and why (a test holds this list to the header):
 *   channel_unref and the like, channel_ref
 *       a box holds one reference, and its finaliser gives it up
 *   channel_read channel_write channel_read_all channel_read_all_eof channel_write_all
 *       they block in C: the Lua layer tries and waits, so that tasks run and Ctrl-C gets through
 *   channel_try_write loop_next_events loop_dispatch fdset_take_fd
 *       by hand in qio_core_io.c: from an offset, in batches, owned
 *   task_wait
 *       it blocks in C: qio.sched turns the loop until the event comes
 *   task_put
 *       what a filter returns is put by the thunk that calls it (qio_core_cb.c)
 *   task_set_callback task_get_error
 *       tasks are told of by an event, and task_status tells the detail
 *   channel_ws_send channel_ws_recv channel_tls_export
 *   channel_get_transport channel_take_transport
 *       by hand in qio_core_layer.c: from an offset, with three results, known boxes
 *   loop_run
 *       it would not return to Lua between callbacks, so no Ctrl-C; qio.sched turns the loop
 *   channel_new_queued channel_push channel_push_end channel_pull
 *       for runtimes that can take no callback; a channel in Lua is a class with methods
 *   closure_new closure_get_code closure_unref
 *       a script has no use for a C function pointer, and every callback has its user_data
 *   channel_new_custom
 *       qio.newclass: the functions are C's, which look the methods up
 *   loop_attach_glib
 *       a script has no GMainContext; a C host attaches the loop
 */
%module qio_swig
%include "qio_lua.swg"

%rename("%(regex:/^(qioh|QIOH)_(.*)/\\2/)s") "";
%rename("$ignore", regexmatch$name="^qioh_.*_unref$") "";
%ignore qioh_channel_ref;
%ignore qioh_channel_read;
%ignore qioh_channel_write;
%ignore qioh_channel_read_all;
%ignore qioh_channel_read_all_eof;
%ignore qioh_channel_write_all;
%ignore qioh_channel_try_write;
%ignore qioh_loop_next_events;
%ignore qioh_loop_dispatch;
%ignore qioh_loop_attach_glib;
%ignore qioh_loop_run;
%ignore qioh_task_wait;
%ignore qioh_task_put;
%ignore qioh_task_set_callback;
%ignore qioh_task_get_error;
%ignore qioh_fdset_take_fd;
%ignore qioh_channel_ws_send;
%ignore qioh_channel_ws_recv;
%ignore qioh_channel_tls_export;
%ignore qioh_channel_get_transport;
%ignore qioh_channel_take_transport;
%ignore qioh_channel_new_queued;
%ignore qioh_channel_push;
%ignore qioh_channel_push_end;
%ignore qioh_channel_pull;
%ignore qioh_channel_new_custom;
%ignore qioh_channel_ops;
%ignore qioh_closure_new;
%ignore qioh_closure_get_code;
%ignore qioh_error;
%ignore qioh_iovec;
%ignore qioh_event;

QIOL_HANDLE(qioh_channel, QIOL_CHANNEL)
QIOL_HANDLE(qioh_listener, QIOL_LISTENER)
QIOL_HANDLE(qioh_loop, QIOL_LOOP)
QIOL_HANDLE(qioh_watch, QIOL_WATCH)
QIOL_HANDLE(qioh_task, QIOL_OPERATION)
QIOL_HANDLE_OR_NIL(qioh_fdset, QIOL_FDSET)
QIOL_HANDLE_OR_NIL(qioh_options, QIOL_OPTIONS)
QIOL_HANDLE(qioh_creds, QIOL_CREDS)

QIOL_CONSTRUCTOR(qioh_options, qioh_options_new, QIOL_OPTIONS)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_open_uri, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_fd, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_file, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_command, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_buffer, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_null, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_take_stderr, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_listener_accept, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_creds, qioh_creds_new_x509, QIOL_CREDS)
QIOL_CONSTRUCTOR(qioh_creds, qioh_creds_new_psk, QIOL_CREDS)
QIOL_CONSTRUCTOR(qioh_creds, qioh_creds_new_anon, QIOL_CREDS)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_tls_client, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_tls_server, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_ws_client, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_channel, qioh_channel_new_ws_server, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_listener, qioh_listener_open_uri, QIOL_LISTENER)
QIOL_CONSTRUCTOR(qioh_loop, qioh_loop_new, QIOL_LOOP)
QIOL_CONSTRUCTOR(qioh_watch, qioh_watch_new_queued, QIOL_WATCH)
QIOL_CONSTRUCTOR(qioh_watch, qioh_watch_new_listener_queued, QIOL_WATCH)
QIOL_CONSTRUCTOR(qioh_watch, qioh_watch_new_fd_queued, QIOL_WATCH)
QIOL_CONSTRUCTOR(qioh_watch, qioh_watch_new_timer_queued, QIOL_WATCH)
QIOL_CONSTRUCTOR(qioh_fdset, qioh_fdset_new, QIOL_FDSET)
QIOL_CONSTRUCTOR(qioh_task, qioh_task_start_open_uri, QIOL_OPERATION)
QIOL_CONSTRUCTOR(qioh_task, qioh_task_start_listen_uri, QIOL_OPERATION)
QIOL_CONSTRUCTOR(qioh_task, qioh_task_start_handshake, QIOL_OPERATION)
QIOL_CONSTRUCTOR(qioh_task, qioh_task_start_close, QIOL_OPERATION)
QIOL_CONSTRUCTOR(qioh_task, qioh_task_start_relay, QIOL_OPERATION)
QIOL_CONSTRUCTOR(qioh_task, qioh_task_start_wait_exit, QIOL_OPERATION)
QIOL_CONSTRUCTOR(qioh_channel, qioh_task_take_channel, QIOL_CHANNEL)
QIOL_CONSTRUCTOR(qioh_listener, qioh_task_take_listener, QIOL_LISTENER)
QIOL_REGISTRATION(qioh_watch, qioh_watch_new, QIOL_WATCH, qioh_watch_fn, qiol_watch_fn)
QIOL_REGISTRATION(qioh_watch, qioh_watch_new_listener, QIOL_WATCH, qioh_listener_fn,
                  qiol_listener_fn)
QIOL_REGISTRATION(qioh_watch, qioh_watch_new_fd, QIOL_WATCH, qioh_fd_fn, qiol_fd_fn)
QIOL_REGISTRATION(qioh_watch, qioh_watch_new_timer, QIOL_WATCH, qioh_timer_fn, qiol_timer_fn)

%include "qioh.i"
