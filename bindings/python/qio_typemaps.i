/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_typemaps.i: how arguments and results of the flat ABI look in Python.
 *
 * Each typemap is a line or two that calls the glue (qiopy.h).  They have to come before the
 * declarations, and they name the argument ("$1_name") so that errors can.
 */

/* Every call may end in a callback: bracket it, so that its exception finds the way out. */
%exception { qiopy_enter(); $action qiopy_leave(); }

/* ---- errors and results ---- */

%typemap(in, numinputs=0) qioh_error *error (qioh_error e) { qiopy_error_init(&e); $1 = &e; }
%typemap(argout) qioh_error *error {
  if (e$argnum.code < 0) { Py_CLEAR($result); qiopy_raise(&e$argnum); SWIG_fail; } }
/* would block: an exception where the result is a number, None where it is a transfer */
%typemap(out) qioh_status {
  if ($1 == QIOH_E_AGAIN) { qiopy_raise_code($1, 0, NULL); SWIG_fail; }
  $result = $1 < 0 ? NULL : PyLong_FromLong($1); }
%typemap(out) qioh_ssize { $result = $1 < 0 ? NULL : PyLong_FromLongLong($1); }
%typemap(out) int64_t { $result = $1 < 0 ? NULL : PyLong_FromLongLong($1); }
%typemap(out) PyObject * "$result = $1;"
/* qioh_status of a verb that has nothing to tell */
%typemap(out) qioh_status NOTHING {
  if ($1 == QIOH_E_AGAIN) { qiopy_raise_code($1, 0, NULL); SWIG_fail; }
  $result = $1 < 0 ? NULL : Py_NewRef(Py_None); }

/* ---- handles: both spellings, a method's self is `struct qioh_channel *` ---- */

%typemap(in) struct qioh_channel *self, qioh_channel *self {
  $1 = ((QioObject *)$input)->h.channel; }
%typemap(in) struct qioh_listener *self, qioh_listener *self {
  $1 = ((QioObject *)$input)->h.listener; }
%typemap(in) struct qioh_loop *self, qioh_loop *self { $1 = ((QioObject *)$input)->h.loop; }
%typemap(in) struct qioh_watch *self, qioh_watch *self { $1 = ((QioObject *)$input)->h.watch; }
%typemap(out) struct qioh_channel *, qioh_channel * { $result = qiopy_wrap_channel($1, true); }
%typemap(out) struct qioh_listener *, qioh_listener * { $result = qiopy_wrap_listener($1); }
%typemap(in) struct qioh_creds *self, qioh_creds *self { $1 = ((QioObject *)$input)->h.creds; }
/* a method that needs its own object */
%typemap(in, numinputs=0) QioObject *SELF "$1 = (QioObject *)self;"

/* ---- plain arguments ---- */

%typemap(in) Py_ssize_t { if (qiopy_arg_size($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) int32_t { if (qiopy_arg_int32($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) uint32_t { if (qiopy_arg_uint32($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) int64_t { if (qiopy_arg_int64($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) QioBool { $1 = PyObject_IsTrue($input); if ($1 < 0) SWIG_fail; }
%typemap(in) int32_t fd { if (qiopy_arg_fd($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) uint32_t condition { if (qiopy_arg_condition($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) uint32_t how { if (qiopy_arg_shutdown($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) const char * { $1 = (char *)qiopy_arg_text($input, "$1_name"); if (!$1) SWIG_fail; }
%typemap(freearg) const char * ""
%typemap(in) const char *path (PyObject *bytes = NULL) {
  if (qiopy_arg_path($input, "$1_name", &bytes) < 0) SWIG_fail;
  $1 = PyBytes_AS_STRING(bytes); }
%typemap(freearg) const char *path { Py_XDECREF(bytes$argnum); }
%typemap(in) const char *const *argv (QioStrings strings = {0}) {
  if (qiopy_arg_strings($input, "$1_name", &strings) < 0) SWIG_fail;
  $1 = (char **)strings.items; }
%typemap(freearg) const char *const *argv { qiopy_strings_release(&strings$argnum); }
%typemap(in) qioh_options *options (qioh_options *handle = NULL) {
  if (qiopy_arg_options($input, "keys", &handle) < 0) SWIG_fail;
  $1 = handle; }
%typemap(freearg) qioh_options *options { qioh_options_unref(handle$argnum); }

/* a time-out: by keyword, but where it is the subject of the call */
%typemap(in) QioTimeout {
  if (qiopy_keyword_only(kwargs, "$1_name") < 0 || qiopy_timeout($input, "$1_name", &$1) < 0)
    SWIG_fail; }
%typemap(in) QioPlainTimeout { if (qiopy_timeout($input, "$1_name", &$1) < 0) SWIG_fail; }
%typemap(in) PyObject *every {
  if (qiopy_keyword_only(kwargs, "$1_name") < 0) SWIG_fail;
  $1 = $input; }
%typemap(in) Py_ssize_t limit {
  if (qiopy_keyword_only(kwargs, "$1_name") < 0 || qiopy_arg_size($input, "$1_name", &$1) < 0)
    SWIG_fail; }
%typemap(in) QioUpTo { if (qiopy_arg_up_to($input, "$1_name", &$1) < 0) SWIG_fail; }

/* ---- buffers: exported for the whole call ---- */

%typemap(in) (void *b, size_t len) (Py_buffer view = {0}) {
  if (qiopy_arg_buffer($input, "$1_name", true, &view) < 0) SWIG_fail;
  $1 = view.buf; $2 = (size_t)view.len; }
%typemap(in) (const void *b, size_t len) (Py_buffer view = {0}) {
  if (qiopy_arg_buffer($input, "$1_name", false, &view) < 0) SWIG_fail;
  $1 = (void *)view.buf; $2 = (size_t)view.len; }
%typemap(freearg) (void *b, size_t len), (const void *b, size_t len) {
  PyBuffer_Release(&view$argnum); }
%apply (const void *b, size_t len) { (const void *data, size_t len) };
/* of qioh_channel_new_buffer(): the name that qio.buffer() gives it */
%typemap(in) (const void *buf, size_t len) (Py_buffer view = {0}) {
  if (qiopy_arg_buffer($input, "data", false, &view) < 0) SWIG_fail;
  $1 = (void *)view.buf; $2 = (size_t)view.len; }
%typemap(freearg) (const void *buf, size_t len) { PyBuffer_Release(&view$argnum); }
