/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio.i: the extension module qio._qio.
 *
 * SWIG makes the wrappers and the method tables; pyobject.c hangs them on our own types.  A
 * method without a body binds to the ABI function of its name (quit -> qioh_loop_quit); one that
 * waits calls the glue.  Names that begin with x_ are renamed: qioh_channel_write is a symbol of
 * the library, and SWIG would make a function of that very name.
 *
 * What is left out of the ABI, and why (tests/py/test_abi_coverage.py holds this to the header):
 *   channel_read channel_write channel_read_all channel_read_all_eof channel_write_all
 *       they wait in C: the glue tries and waits, so that other threads run and Ctrl-C gets through
 *   channel_dup_fd fdset_get_fd
 *       os.dup(channel.fileno()), and qio.Fd owns what was received
 *   task_get_error
 *       task_status tells the same, and an exception has it
 *   loop_wait loop_next_events
 *   watch_new_queued watch_new_listener_queued watch_new_fd_queued watch_new_timer_queued
 *       callbacks cost Python no more than events do, and dispatch waits for itself
 *   loop_attach_glib
 *       a script has no GMainContext; a C host attaches the loop
 *   debug_describe
 *       a token is never seen: repr() tells what a channel is
 *   channel_new_queued channel_push channel_push_end channel_pull
 *       for runtimes that can take no callback; a channel in Python is a class with methods
 *   closure_new closure_get_code closure_unref
 *       ctypes and cffi make C function pointers themselves, and a callback here is a callable
 */
%module _qio

%{
#include "qiopy.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
%}

%nodefaultctor;
%nodefaultdtor;
%rename("$ignore", regexmatch$name="^qioh_") "";     /* flat twins; what is wanted is named */

/* name of a method, how it looks to inspect, and its one-line help */
%define %method(TYPE, FROM, TO, SIGNATURE, HELP)
%rename(TO) TYPE::FROM;
%feature("autodoc", #TO SIGNATURE "\n--\n\n" HELP) TYPE::FROM;
%enddef
%define %method_kw(TYPE, FROM, TO, SIGNATURE, HELP)
%feature("kwargs") TYPE::FROM;
%method(TYPE, FROM, TO, SIGNATURE, HELP)
%enddef
%define %function(FROM, TO, SIGNATURE)
%rename(TO) FROM;
%feature("autodoc", #TO SIGNATURE "\n--\n\n") FROM;
%enddef

%include "qio_typemaps.i"

%rename(Channel) qioh_channel;
%rename(Listener) qioh_listener;
%rename(Loop) qioh_loop;
%rename(Watch) qioh_watch;
%rename(TLSCreds) qioh_creds;
typedef struct qioh_channel {} qioh_channel;
typedef struct qioh_listener {} qioh_listener;
typedef struct qioh_loop {} qioh_loop;
typedef struct qioh_watch {} qioh_watch;
typedef struct qioh_creds {} qioh_creds;

%include "qio_channel.i"
%include "qio_layer.i"
%include "qio_rest.i"
%include "../qioh.i"

%init %{
  {
    PyMethodDef *const tables[QIO_TYPES] = {
      SwigPyBuiltin__qioh_channel_methods, SwigPyBuiltin__qioh_listener_methods,
      SwigPyBuiltin__qioh_loop_methods, SwigPyBuiltin__qioh_watch_methods,
      SwigPyBuiltin__qioh_creds_methods,
    };
    qiopy_strip_docs(SwigMethods);
    if (qiopy_init(md, tables) < 0) {
      return NULL;
    }
  }
%}
