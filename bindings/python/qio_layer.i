/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio_layer.i: the methods of a channel that have to do with TLS and WebSocket, and credentials.
 * The Python half (qio/channel.py, qio/tls.py, qio/websocket.py) gives them their public form.
 */

%alone(x_ping, QIO_WRITING)
%unlocked(x_ws_close)
%unlocked(x_tls_rekey)

%method_kw(qioh_channel, x_handshake, handshake, "($self, /, *, timeout=...)",
           "Do the handshake of a layer now, which the first transfer would do otherwise.  timeout\n"
           "is for this call, handshake_timeout for the handshake in all.")
%method(qioh_channel, x_new_tls, _new_tls, "($self, creds, keys, server, /)", "")
%method(qioh_channel, x_new_websocket, _new_websocket, "($self, keys, server, /)", "")
%method(qioh_channel, x_transport, _transport, "($self, /)", "")
%method(qioh_channel, x_unwrap, _unwrap, "($self, timeout, /)", "")
%method(qioh_channel, x_tls_str, _tls_str, "($self, key, /)", "")
%method(qioh_channel, x_tls_certificate, _tls_certificate, "($self, index, /)", "")
%method(qioh_channel, x_tls_export, _tls_export, "($self, label, length, context, /)", "")
%method(qioh_channel, x_tls_rekey, _tls_rekey, "($self, /)", "")
%method(qioh_channel, x_ping, _ping, "($self, b, /)", "")
%method(qioh_channel, x_ws_close, _ws_close, "($self, code, reason, /)", "")
%method(qioh_channel, x_ws_request, _ws_request, "($self, key, /)", "")
%method(qioh_channel, x_ws_accept, _ws_accept, "($self, protocol, /)", "")
%method(qioh_channel, x_ws_reject, _ws_reject, "($self, status, reason, /)", "")
%method(qioh_channel, x_answer_request, _answer_request, "($self, /)", "")
%method(qioh_channel, x_set_on_request, _set_on_request, "($self, fn, /)", "")

/* None is no string */
%typemap(in) const char *or_none {
  $1 = NULL;
  if ($input != Py_None && !($1 = (char *)qiopy_arg_text($input, "$1_name"))) SWIG_fail; }

%apply qioh_status NOTHING { qioh_status x_tls_rekey, qioh_status x_ws_close };
%apply const char *or_none { const char *protocol, const char *reason };

%extend qioh_channel {
  PyObject *x_handshake(QioObject *SELF, QioTimeout timeout = QIO_TIMEOUT_DEFAULT) {
    return qiopy_handshake(SELF, timeout); }
  PyObject *x_new_tls(QioObject *SELF, PyObject *creds, PyObject *keys, QioBool server) {
    return qiopy_new_tls(SELF, creds, keys, server); }
  PyObject *x_new_websocket(QioObject *SELF, PyObject *keys, QioBool server) {
    return qiopy_new_websocket(SELF, keys, server); }
  PyObject *x_transport(QioObject *SELF) { return qiopy_transport(SELF); }
  PyObject *x_unwrap(QioObject *SELF, QioPlainTimeout timeout) {
    return qiopy_unwrap_layer(SELF, timeout); }
  PyObject *x_tls_str(QioObject *SELF, const char *key) {
    return qiopy_keyed_string(SELF, qioh_channel_tls_get_str, key); }
  PyObject *x_tls_certificate(QioObject *SELF, uint32_t index) {
    return qiopy_tls_certificate(SELF, index); }
  PyObject *x_tls_export(QioObject *SELF, const char *label, Py_ssize_t length, PyObject *context) {
    return qiopy_tls_export(SELF, label, length, context); }
  qioh_status x_tls_rekey(qioh_error *error) { return qioh_channel_tls_rekey(self, error); }
  PyObject *x_ping(QioObject *SELF, const void *b, size_t len) { return qiopy_ping(SELF, b, len); }
  qioh_status x_ws_close(uint32_t code, const char *reason, qioh_error *error) {
    return qioh_channel_ws_close(self, code, reason, error); }
  PyObject *x_ws_request(QioObject *SELF, const char *key) {
    return qiopy_keyed_string(SELF, qioh_channel_ws_get_request, key); }
  PyObject *x_ws_accept(QioObject *SELF, const char *protocol) {
    return qiopy_ws_accept(SELF, protocol); }
  PyObject *x_ws_reject(QioObject *SELF, uint32_t status, const char *reason) {
    return qiopy_ws_reject(SELF, status, reason); }
  PyObject *x_answer_request(QioObject *SELF) {
    return qiopy_answer_request(SELF) < 0 ? NULL : Py_NewRef(Py_None); }
  PyObject *x_set_on_request(QioObject *SELF, PyObject *fn) {
    return qiopy_set_on_request(SELF, fn); }
}

%method(qioh_creds, x_set_authorize, _set_authorize, "($self, fn, /)", "")
%method(qioh_creds, x_set_lookup, _set_lookup, "($self, fn, /)", "")

%extend qioh_creds {
  PyObject *x_set_authorize(QioObject *SELF, PyObject *fn) {
    return qiopy_creds_set_authorize(SELF, fn); }
  PyObject *x_set_lookup(QioObject *SELF, PyObject *fn) { return qiopy_creds_set_lookup(SELF, fn); }
}

%function(qiopy_creds_new, creds_new, "($module, kind, keys, server, /)")
%function(qiopy_adopt_messages, adopt_messages, "($module, object, /)")
PyObject *qiopy_creds_new(uint32_t kind, PyObject *keys, QioBool server);
PyObject *qiopy_adopt_messages(PyObject *object);
