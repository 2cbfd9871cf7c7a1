/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_channel.i: the methods of a channel.  What a method promises is written in qio/channel.py
 * and docs/python.md; the help texts here are what help() shows.
 */

/* A reader, a writer, for all of the call's time. */
%define %alone(NAME, WAY)
%exception qioh_channel::NAME {
  if (!qiopy_begin((QioObject *)self, WAY)) SWIG_fail;
  qiopy_enter();
  $action
  qiopy_leave();
  qiopy_end((QioObject *)self, WAY);
}
%enddef
%alone(x_readinto, QIO_READING)
%alone(x_read, QIO_READING)
%alone(x_read_some, QIO_READING)
%alone(x_read_exactly, QIO_READING)
%alone(x_read_until, QIO_READING)
%alone(x_read_line, QIO_READING)
%alone(x_readv, QIO_READING)
%alone(x_peek, QIO_READING)
%alone(x_recv_fds, QIO_READING)
%alone(x_write, QIO_WRITING)
%alone(x_write_all, QIO_WRITING)
%alone(x_writev, QIO_WRITING)
%alone(x_writev_all, QIO_WRITING)
%alone(x_flush, QIO_WRITING)
%alone(x_send_fds, QIO_WRITING)
%alone(x_try_flush, QIO_WRITING)

%exception qioh_channel::x_unread {
  qiopy_enter();
  $action
  qiopy_leave();
  qiopy_looked((QioObject *)self, QIO_READING);
}

/* Those that take the lock of a layer: see qiopy_unlock(). */
%define %unlocked(NAME)
%exception qioh_channel::NAME {
  PyThreadState *unlocked_;
  qiopy_enter();
  unlocked_ = qiopy_unlock((QioObject *)self, 0);
  $action
  qiopy_relock((QioObject *)self, unlocked_, -1, NULL);
  qiopy_leave();
}
%enddef
%unlocked(cancel)
%unlocked(set_delay)
%unlocked(set_cork)
%unlocked(x_pending)
%unlocked(has_feature)

/* ---- reading ---- */

%method(qioh_channel, x_readinto, readinto, "($self, b, /, *, timeout=...)",
        "Read once into a writable buffer.  Bytes read, 0 at the end, None if it would block.")
%method_kw(qioh_channel, x_read, read, "($self, /, n=-1, *, timeout=...)",
           "Read at most n bytes in one chunk; without n, all until the end.")
%method_kw(qioh_channel, x_read_some, read_some, "($self, /, n=65536, *, timeout=...)",
           "Read at most n bytes in one chunk; b'' at the end.")
%method_kw(qioh_channel, x_read_exactly, read_exactly,
           "($self, /, n, eof_ok=False, *, timeout=...)",
           "Read n bytes.  The end before that raises IncompleteReadError; with eof_ok an end\n"
           "before the first byte gives b''.")
%method_kw(qioh_channel, x_read_until, read_until,
           "($self, /, delims, *, limit=16777216, timeout=...)",
           "Read up to and with the first delimiter (bytes, or a sequence of them), or what is\n"
           "left at the end.  LimitError when limit bytes hold none; nothing is consumed then.")
%method(qioh_channel, x_read_line, _read_line, "($self, timeout, /)", "")
%method_kw(qioh_channel, x_readv, readv, "($self, /, buffers, *, timeout=...)",
           "Read once into several buffers, in order.  Bytes read, None if it would block.")
%method_kw(qioh_channel, x_peek, peek, "($self, /, n=65536, *, timeout=...)",
           "Give up to n of the next bytes and leave them to be read.")
%method_kw(qioh_channel, x_pread, pread, "($self, /, n, offset)",
           "Read up to n bytes at an offset, leaving the position alone.")
%method_kw(qioh_channel, x_pread_into, pread_into, "($self, /, b, offset)",
           "Read into a writable buffer at an offset, leaving the position alone.")
%method_kw(qioh_channel, x_recv_fds, recv_fds, "($self, /, n, maxfds=253, *, timeout=...)",
           "Read at most n bytes and the descriptors that came with them: (bytes, [Fd]).")

%extend qioh_channel {
  PyObject *x_readinto(QioObject *SELF, void *b, size_t len) {
    return qiopy_readinto(SELF, b, len, QIO_TIMEOUT_DEFAULT); }
  PyObject *x_read(QioObject *SELF, QioUpTo n = -1, QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_read(SELF, n, timeout); }
  PyObject *x_read_some(QioObject *SELF, Py_ssize_t n = 65536,
                        QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_read_some(SELF, n, timeout); }
  PyObject *x_read_exactly(QioObject *SELF, Py_ssize_t n, QioBool eof_ok = 0,
                           QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_read_exactly(SELF, n, eof_ok, timeout); }
  PyObject *x_read_until(QioObject *SELF, PyObject *delims, Py_ssize_t limit = 16777216,
                         QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_read_until(SELF, delims, limit, timeout); }
  PyObject *x_read_line(QioObject *SELF, QioPlainTimeout timeout) {
    return qiopy_read_line(SELF, timeout); }
  PyObject *x_readv(QioObject *SELF, PyObject *buffers, QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_readv(SELF, buffers, timeout); }
  PyObject *x_peek(QioObject *SELF, Py_ssize_t n = 65536,
                   QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_peek(SELF, n, timeout); }
  PyObject *x_pread(QioObject *SELF, Py_ssize_t n, int64_t offset) {
    return qiopy_pread(SELF, n, offset); }
  PyObject *x_pread_into(QioObject *SELF, void *b, size_t len, int64_t offset) {
    return qiopy_pread_into(SELF, b, len, offset); }
  PyObject *x_recv_fds(QioObject *SELF, Py_ssize_t n, Py_ssize_t maxfds = 253,
                       QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_recv_fds(SELF, n, maxfds, timeout); }
}

/* ---- writing ---- */

%method(qioh_channel, x_write, write, "($self, b, /, *, timeout=...)",
        "Write.  A blocking channel, or one given a timeout, takes all of b; a non-blocking one\n"
        "gives a count, or None if it would block.  TimeoutError has .bytes_written.")
%method_kw(qioh_channel, x_write_all, write_all, "($self, /, b, *, timeout=...)",
           "Write all of b, also on a non-blocking channel.")
%method_kw(qioh_channel, x_writev, writev, "($self, /, buffers, *, timeout=...)",
           "As write(), for several buffers in order.")
%method_kw(qioh_channel, x_writev_all, writev_all, "($self, /, buffers, *, timeout=...)",
           "As write_all(), for several buffers in order.")
%method_kw(qioh_channel, x_pwrite, pwrite, "($self, /, b, offset)",
           "Write at an offset, leaving the position alone.")
%method(qioh_channel, x_flush, flush, "($self, /)", "Send what the channel holds back.")
%method_kw(qioh_channel, x_send_fds, send_fds, "($self, /, data, fds, *, timeout=...)",
           "Write data with descriptors (ints or objects with fileno()); they are duplicated and\n"
           "go with the first byte.")

%extend qioh_channel {
  PyObject *x_write(QioObject *SELF, const void *b, size_t len) {
    return qiopy_write(SELF, b, len, QIO_TIMEOUT_DEFAULT); }
  PyObject *x_write_all(QioObject *SELF, const void *b, size_t len,
                        QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_write_all(SELF, b, len, timeout); }
  PyObject *x_writev(QioObject *SELF, PyObject *buffers, QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_writev(SELF, buffers, false, timeout); }
  PyObject *x_writev_all(QioObject *SELF, PyObject *buffers,
                         QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_writev(SELF, buffers, true, timeout); }
  PyObject *x_pwrite(QioObject *SELF, const void *b, size_t len, int64_t offset) {
    return qiopy_pwrite(SELF, b, len, offset); }
  PyObject *x_flush(QioObject *SELF) { return qiopy_flush(SELF); }
  PyObject *x_send_fds(QioObject *SELF, const void *data, size_t len, PyObject *fds,
                       QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_send_fds(SELF, data, len, fds, timeout); }
}

/* ---- waiting and mode ---- */

%method_kw(qioh_channel, x_wait, wait, "($self, /, condition, *, timeout=...)",
           "Wait until a transfer in that direction would not block.  The conditions that hold, a\n"
           "false Cond on time-out.")
%method_kw(qioh_channel, x_settimeout, settimeout, "($self, /, timeout)",
           "As a socket's: seconds for each call, None = no limit, 0 = non-blocking.")
%method(qioh_channel, x_gettimeout, gettimeout, "($self, /)",
        "Seconds, None without a limit, 0.0 when non-blocking.")
%method(qioh_channel, x_setblocking, setblocking, "($self, enabled, /)",
        "True: calls wait, without a limit; False: they give None instead.")
%method(qioh_channel, x_getblocking, getblocking, "($self, /)", "Whether calls wait.")

%extend qioh_channel {
  PyObject *x_wait(QioObject *SELF, uint32_t condition, QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_channel_wait(SELF, condition, timeout); }
  PyObject *x_settimeout(QioObject *SELF, PyObject *timeout) {
    return qiopy_settimeout(SELF, timeout); }
  PyObject *x_gettimeout(QioObject *SELF) { return qiopy_gettimeout(SELF); }
  PyObject *x_setblocking(QioObject *SELF, QioBool enabled) {
    return qiopy_set_mode(SELF, enabled ? -1 : 0); }
  PyObject *x_getblocking(QioObject *SELF) { return qiopy_getblocking(SELF); }
}

/* ---- state; those without a body are the ABI's own ---- */

%method(qioh_channel, x_shutdown, shutdown, "($self, how, /)",
        "End a direction: \"read\", \"write\", \"both\", or a socket.SHUT_ constant.")
%method(qioh_channel, x_try_shutdown, _try_shutdown, "($self, how, /)", "")
%method(qioh_channel, x_try_flush, _try_flush, "($self, /)", "")
%method(qioh_channel, x_unread, _unread, "($self, b, /)", "")
%method(qioh_channel, cancel, cancel, "($self, condition=5, /)",
        "Interrupt who waits for the condition (IN|OUT by default): AbortedError.")
%method(qioh_channel, set_delay, set_delay, "($self, enabled, /)",
        "Whether small writes may be held back (the opposite of TCP_NODELAY).")
%method(qioh_channel, set_cork, set_cork, "($self, enabled, /)",
        "Hold partial frames back until uncorked (TCP_CORK).")
%method(qioh_channel, x_seek, _seek, "($self, offset, whence, /)", "")
%method(qioh_channel, x_size, _size, "($self, /)", "")
%method(qioh_channel, x_kind, _kind, "($self, /)", "")
%method(qioh_channel, x_pending, _pending, "($self, /)", "")
%method(qioh_channel, notify, _notify, "($self, condition, /)", "")
%method(qioh_channel, set_name, _set_name, "($self, name, /)", "")
%method(qioh_channel, has_feature, _has_feature, "($self, feature, /)", "")
%method(qioh_channel, x_name, _name, "($self, /)", "")
%method(qioh_channel, x_local_address, _local_address, "($self, /)", "")
%method(qioh_channel, x_peer_address, _peer_address, "($self, /)", "")
%method(qioh_channel, x_peer_cred, _peer_cred, "($self, /)", "")
%method(qioh_channel, x_closed, _closed, "($self, /)", "")
%method(qioh_channel, x_close, close, "($self, /)",
        "Stop I/O; a second time does nothing.  Calls in other threads end with AbortedError.")
%method(qioh_channel, x_get_poll, _get_poll, "($self, condition, /)", "")
%method(qioh_channel, x_fileno, fileno, "($self, /)",
        "The descriptor, which stays the channel's; -1 after close.")
%method(qioh_channel, x_detach, detach, "($self, /)",
        "Give the descriptor to the caller and close the channel around it.")
%method(qioh_channel, x_pid, _pid, "($self, /)", "")
%method(qioh_channel, kill, _kill, "($self, signum, /)", "")
%method(qioh_channel, take_stderr, _take_stderr, "($self, /)", "")
%method(qioh_channel, x_exit_status, _exit_status, "($self, /)", "")
%method_kw(qioh_channel, x_wait_exit, _wait_exit, "($self, /, timeout)", "")

%apply qioh_status NOTHING { qioh_status cancel, qioh_status set_delay,
                             qioh_status set_cork, qioh_status notify,
                             qioh_status set_name, qioh_status kill,
                             qioh_status x_unread };

%extend qioh_channel {
  PyObject *x_shutdown(QioObject *SELF, uint32_t how) {
    return qiopy_shutdown(SELF, how, QIO_TIMEOUT_DEFAULT); }
  PyObject *x_try_shutdown(QioObject *SELF, uint32_t how) {
    return qiopy_shutdown(SELF, how, QIO_TIMEOUT_TRY); }
  PyObject *x_try_flush(QioObject *SELF) {
    int result = qiopy_try_flush(SELF);
    return result < 0 ? NULL : Py_NewRef(result ? Py_True : Py_None); }
  qioh_status x_unread(const void *b, size_t len, qioh_error *error) {
    return qioh_channel_unread(self, b, len, error); }
  qioh_status cancel(uint32_t condition = QIOH_IN | QIOH_OUT, qioh_error *error);
  qioh_status set_delay(QioBool enabled, qioh_error *error);
  qioh_status set_cork(QioBool enabled, qioh_error *error);
  qioh_status notify(uint32_t condition, qioh_error *error);
  qioh_status set_name(const char *name, qioh_error *error);
  qioh_status has_feature(uint32_t feature, qioh_error *error);
  qioh_status kill(int32_t signum, qioh_error *error);
  qioh_channel *take_stderr(qioh_error *error);
  int64_t x_seek(int64_t offset, int32_t whence, qioh_error *error) {
    return qioh_channel_seek(self, offset, whence, error); }
  int64_t x_size(qioh_error *error) { return qioh_channel_get_size(self, error); }
  qioh_status x_kind(qioh_error *error) { return qioh_channel_get_kind(self, error); }
  qioh_status x_pid(qioh_error *error) { return qioh_channel_get_pid(self, error); }
  qioh_ssize x_pending(qioh_error *error) { return qioh_channel_get_pending(self, error); }
  PyObject *x_name(QioObject *SELF) { return qiopy_channel_string(SELF, qioh_channel_get_name); }
  PyObject *x_local_address(QioObject *SELF) {
    return qiopy_channel_string(SELF, qioh_channel_get_local_address); }
  PyObject *x_peer_address(QioObject *SELF) {
    return qiopy_channel_string(SELF, qioh_channel_get_peer_address); }
  PyObject *x_peer_cred(QioObject *SELF) { return qiopy_channel_peer_cred(SELF); }
  PyObject *x_closed(QioObject *SELF) { return qiopy_channel_closed(SELF); }
  PyObject *x_close(QioObject *SELF) { return qiopy_channel_close(SELF); }
  PyObject *x_get_poll(QioObject *SELF, uint32_t condition) {
    return qiopy_channel_get_poll(SELF, condition); }
  PyObject *x_fileno(QioObject *SELF) { return qiopy_channel_fileno(SELF); }
  PyObject *x_detach(QioObject *SELF) { return qiopy_channel_detach(SELF); }
  PyObject *x_exit_status(QioObject *SELF) { return qiopy_channel_exit_status(SELF); }
  PyObject *x_wait_exit(QioObject *SELF, QioPlainTimeout timeout) {
    return qiopy_channel_wait_exit(SELF, timeout); }
}
