/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio.i: the extension module qio._qio.
 *
 * SWIG makes the wrappers and the method tables; pyobject.c hangs them on our own types.  A
 * method without a body binds to the ABI function of its name (quit -> qioh_loop_quit); one that
 * waits calls the glue.  Names that begin with x_ are renamed: qioh_channel_write is a symbol of
 * the library, and SWIG would make a function of that very name.
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
