/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_rest.i: the methods of listeners, loops and watches, and the functions that open things.
 */

/* ---- listeners ---- */

%method(qioh_listener, x_accept, _accept, "($self, timeout, /)", "")
%method(qioh_listener, x_addresses, _addresses, "($self, /)", "")
%method(qioh_listener, x_fileno, fileno, "($self, /)",
        "The first descriptor, which stays the listener's; -1 after close.")
%method(qioh_listener, x_close, close, "($self, /)",
        "Stop listening; a second time does nothing.  accept() in other threads ends.")
%method(qioh_listener, x_accept_now, _accept_now, "($self, /)", "")
%method(qioh_listener, x_closed, _closed, "($self, /)", "")

%extend qioh_listener {
  PyObject *x_accept(QioObject *SELF, QioPlainTimeout timeout) {
    return qiopy_listener_accept(SELF, timeout); }
  PyObject *x_addresses(QioObject *SELF) { return qiopy_listener_addresses(SELF); }
  PyObject *x_fileno(QioObject *SELF) { return qiopy_listener_fileno(SELF); }
  PyObject *x_close(QioObject *SELF) { return qiopy_listener_close(SELF); }
  PyObject *x_accept_now(QioObject *SELF) { return qiopy_listener_accept_now(SELF); }
  PyObject *x_closed(QioObject *SELF) { return PyBool_FromLong(SELF->closed); }
}

/* ---- loops and watches ---- */

%method(qioh_loop, x_run, run, "($self, /)", "Call what is due until quit().")
%method_kw(qioh_loop, x_run_once, run_once, "($self, /, timeout=None)",
           "Wait until something is due and call it.  The number of calls; 0 on time-out, and also when\n"
           "wakeup() or work of the loop's own ended the wait.")
%method(qioh_loop, quit, quit, "($self, /)", "Make the current or next run() return.  Any thread.")
%method(qioh_loop, wakeup, wakeup, "($self, /)",
        "Make the current or next wait return.  Any thread.")
%method(qioh_loop, x_fileno, fileno, "($self, /)",
        "One descriptor, readable exactly while something is due.")
%method(qioh_loop, x_close, close, "($self, /)", "Remove all watches; the loop is of no more use.")
%method_kw(qioh_loop, x_watch, watch, "($self, /, channel, condition, fn)",
           "Call fn(channel, condition) while the condition holds, until it returns False.  The\n"
           "channel may also be a Listener, a descriptor or anything with fileno().")
%method_kw(qioh_loop, x_add_timer, add_timer, "($self, /, after, fn, *, every=None)",
           "Call fn() after so many seconds, then every so many until it returns False.")
%method_kw(qioh_loop, x_defer, defer, "($self, /, fn)",
           "Call fn() once in the next turn.  Any thread.")
%method(qioh_loop, x_relay, _relay, "($self, a, b, options, filter, fn, /)", "")
%method(qioh_loop, x_open, _open, "($self, uri, options, fn, /)", "")
%method(qioh_loop, x_listen, _listen, "($self, uri, options, fn, /)", "")
%method(qioh_loop, x_handshake, _handshake, "($self, channel, ms, fn, /)", "")
%method(qioh_loop, x_close_channel, _close_channel, "($self, channel, ms, fn, /)", "")
%method(qioh_loop, x_wait_exit, _wait_exit, "($self, channel, fn, /)", "")
%method(qioh_watch, x_remove, remove, "($self, /)", "End the watch; a second time does nothing.")

%apply qioh_status NOTHING { qioh_status quit, qioh_status wakeup };

%extend qioh_loop {
  PyObject *x_run(QioObject *SELF) { return qiopy_loop_run(SELF); }
  PyObject *x_run_once(QioObject *SELF, QioPlainTimeout timeout = QIO_TIMEOUT_NONE) {
    return qiopy_loop_run_once(SELF, timeout); }
  qioh_status quit(qioh_error *error);
  qioh_status wakeup(qioh_error *error);
  qioh_status x_fileno(qioh_error *error) { return qioh_loop_get_fd(self, error); }
  PyObject *x_close(QioObject *SELF) { return qiopy_loop_close(SELF); }
  PyObject *x_watch(QioObject *SELF, PyObject *channel, uint32_t condition, PyObject *fn) {
    return qiopy_loop_watch(SELF, channel, condition, fn); }
  PyObject *x_add_timer(QioObject *SELF, PyObject *after, PyObject *fn, PyObject *every = Py_None) {
    return qiopy_loop_add_timer(SELF, after, fn, every); }
  PyObject *x_defer(QioObject *SELF, PyObject *fn) { return qiopy_loop_defer(SELF, fn); }
  PyObject *x_relay(QioObject *SELF, PyObject *a, PyObject *b, qioh_options *options,
                    PyObject *filter, PyObject *fn) {
    return qiopy_loop_relay(SELF, a, b, options, filter, fn); }
  PyObject *x_open(QioObject *SELF, const char *uri, qioh_options *options, PyObject *fn) {
    return qiopy_loop_open(SELF, uri, options, fn); }
  PyObject *x_listen(QioObject *SELF, const char *uri, qioh_options *options, PyObject *fn) {
    return qiopy_loop_listen(SELF, uri, options, fn); }
  PyObject *x_handshake(QioObject *SELF, PyObject *channel, int32_t ms, PyObject *fn) {
    return qiopy_loop_handshake(SELF, channel, ms, fn); }
  PyObject *x_close_channel(QioObject *SELF, PyObject *channel, int32_t ms, PyObject *fn) {
    return qiopy_loop_close_channel(SELF, channel, ms, fn); }
  PyObject *x_wait_exit(QioObject *SELF, PyObject *channel, PyObject *fn) {
    return qiopy_loop_wait_exit(SELF, channel, fn); }
}
%extend qioh_watch {
  PyObject *x_remove(QioObject *SELF) { return qiopy_watch_remove(SELF); }
}

/* ---- functions: those of the ABI, and ours ---- */

/* Opening a FIFO, starting a program: the GIL goes, a signal is served and the call repeated. */
%define %may_block(NAME, ERROR)
%exception NAME {
  int again_;
  qiopy_enter();
  do {
    Py_BEGIN_ALLOW_THREADS
    $action
    Py_END_ALLOW_THREADS
    again_ = qiopy_interrupted(ERROR);
  } while (again_ == 1);
  qiopy_leave();
  if (again_ < 0) SWIG_fail;
}
%enddef

%function(qioh_abi_version, abi_version, "($module, /)")
%function(qioh_version_string, version_string, "($module, /)")
%function(qioh_debug_live, debug_live, "($module, kind, /)")
%typemap(out) int64_t qioh_debug_live {
  if ($1 < 0) { qiopy_raise_code((int32_t)$1, 0, "kind has to be a QIOH_KIND_ number"); SWIG_fail; }
  $result = PyLong_FromLongLong($1); }
%function(qioh_channel_new_fd, channel_new_fd, "($module, fd, /)")
%function(qioh_channel_new_file, channel_new_file, "($module, path, mode, permissions, /)")
%function(qioh_channel_new_command, channel_new_command, "($module, argv, options, /)")
%function(qioh_channel_new_buffer, channel_new_buffer, "($module, data, /)")
%function(qioh_channel_new_null, channel_new_null, "($module, /)")
%function(qioh_listener_open_uri, listener_open_uri, "($module, uri, options, /)")
%may_block(qioh_channel_new_file, arg4)
%may_block(qioh_channel_new_command, arg3)
%may_block(qioh_listener_open_uri, arg3)

%function(qiopy_open_uri, channel_open_uri, "($module, /, uri, keys, timeout)")
%function(qiopy_new_pair, channel_new_pair, "($module, /)")
%function(qiopy_register, set_hook, "($module, hook, object, /)")
%function(qiopy_adopt, adopt, "($module, object, /)")
%function(qiopy_set_aio, set_aio, "($module, running, home, /)")
%function(qiopy_custom_new, custom_new, "($module, type, loop, written, /)")
%feature("kwargs") qiopy_open_uri;
PyObject *qiopy_open_uri(const char *uri, PyObject *keys, QioPlainTimeout timeout);
PyObject *qiopy_new_pair(void);
PyObject *qiopy_register(unsigned hook, PyObject *object);
PyObject *qiopy_adopt(PyObject *object);
PyObject *qiopy_set_aio(PyObject *running, PyObject *home);
PyObject *qiopy_custom_new(PyObject *class, PyObject *loop, uint32_t written);
