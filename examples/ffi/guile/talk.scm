;;; SPDX-License-Identifier: LGPL-2.1-or-later
;;;
;;; talk: the conversation of ../README.md from Guile.
;;;
;;;   guile talk.scm URI FILE [KEYS USER]
;;;
;;; Guile reads no header, so what is used is declared by hand; a handle is a pointer object that
;;; nobody looks behind, and structs are bytevectors.

(use-modules (system foreign) (system foreign-library) (rnrs bytevectors) (ice-9 match)
             (ice-9 binary-ports) (srfi srfi-1))

(define AGAIN -2)
(define CALLBACK -16)
(define IN 1)
(define EV_WATCH 1)
(define EV_RELEASED 7)
(define FEATURE_FD_PASS 0)
(define KIND_ANY 0)
(define PATIENCE_MS 20000)
(define COOKIE 7)

(define qio (load-foreign-library "libqio.so.0"))

(define (function name result . arguments)
  (foreign-library-function qio name #:return-type result #:arg-types arguments))

;;; ---- structs: where their members lie ----

(define ERROR-SIZE 512)
(define (error-code error) (bytevector-s32-native-ref error 4))
(define (error-message error)
  (pointer->string (bytevector->pointer error 32) -1 "UTF-8"))

(define EVENT-SIZE 64)
(define (event-kind events i) (bytevector-u32-native-ref events (+ (* i EVENT-SIZE) 4)))
(define (event-cookie events i) (bytevector-u64-native-ref events (+ (* i EVENT-SIZE) 16)))

(define (make-iovec data)
  (make-c-struct (list '* size_t) (list (bytevector->pointer data) (bytevector-length data))))

;;; ---- calls and errors ----

(define status-name
  (let ((name (function "qioh_status_name" '* int32)))
    (lambda (code) (pointer->string (name code)))))

(define debug-live (function "qioh_debug_live" int64 uint32))

;; A procedure for a function whose last argument is an error: it throws (qio CODE MESSAGE), and
;; gives AGAIN on, which leaves the error as it is.
(define (checked name result . arguments)
  (let ((raw (apply function name result (append arguments '(*)))))
    (lambda values
      (let* ((error (make-bytevector ERROR-SIZE 0))
             (value (apply raw (append values (list (bytevector->pointer error))))))
        (if (negative? (error-code error))
            (throw 'qio (error-code error) (error-message error))
            value)))))

(define options-new (checked "qioh_options_new" '*))
(define options-set-str (checked "qioh_options_set_str" int32 '* '* '*))
(define channel-open-uri (checked "qioh_channel_open_uri" '* '* '*))
(define channel-write-all (checked "qioh_channel_write_all" int32 '* '* size_t))
(define channel-writev (checked "qioh_channel_writev" int64 '* '* size_t uint32 '*))
(define channel-try-read (checked "qioh_channel_try_read" int64 '* '* size_t))
(define channel-has-feature (checked "qioh_channel_has_feature" int32 '* uint32))
(define channel-close (checked "qioh_channel_close" int32 '*))
(define loop-new (checked "qioh_loop_new" '*))
(define loop-next-events (checked "qioh_loop_next_events" int32 '* '* uint32 int32))
(define watch-new-queued (checked "qioh_watch_new_queued" '* '* '* uint32 uint64))
(define watch-remove (checked "qioh_watch_remove" int32 '*))
(define fdset-new (checked "qioh_fdset_new" '*))
(define fdset-add (checked "qioh_fdset_add" int32 '* int32))

(define channel-read-all (checked "qioh_channel_read_all" int32 '* '* size_t))
(define channel-new-custom (checked "qioh_channel_new_custom" '* '* '* '*))

;; Inside of a callback there is an error already, and what they give is passed on.
(define bare-try-read (function "qioh_channel_try_read" int64 '* '* size_t '*))
(define bare-try-write (function "qioh_channel_try_write" int64 '* '* size_t '*))
(define bare-get-poll (function "qioh_channel_get_poll" int32 '* uint32 '* '* '*))

(define options-unref (function "qioh_options_unref" void '*))
(define channel-unref (function "qioh_channel_unref" void '*))
(define loop-unref (function "qioh_loop_unref" void '*))
(define watch-unref (function "qioh_watch_unref" void '*))
(define fdset-unref (function "qioh_fdset_unref" void '*))

;; Lends a handle to a procedure and gives it up, however that ends.
(define (call-with-handle handle unref use)
  (dynamic-wind (const #t) (lambda () (use handle)) (lambda () (unref handle))))

(define-syntax-rule (with-handle (name make unref) body ...)
  (call-with-handle make unref (lambda (name) body ...)))

;;; ---- a channel with a loop whose queue says when there is something to read ----

(define (open-channel uri keys)
  (with-handle (options (options-new) options-unref)
    (match keys
      (() #t)
      ((file user)
       (options-set-str options (string->pointer "tls-psk-file") (string->pointer file))
       (options-set-str options (string->pointer "tls-psk-user") (string->pointer user))))
    (channel-open-uri (string->pointer uri) options)))

;; Fetches events until one of the kind has come; nothing calls back.
(define (wait-event queue kind)
  (let ((events (make-bytevector (* 8 EVENT-SIZE) 0)))
    (bytevector-u32-native-set! events 0 EVENT-SIZE)    ; struct_size: the stride
    (let again ()
      (let ((count (loop-next-events queue (bytevector->pointer events) 8 PATIENCE_MS)))
        (when (zero? count) (error "the server says nothing"))
        (unless (any (lambda (i) (and (= (event-kind events i) kind)
                                      (= (event-cookie events i) COOKIE)))
                     (iota count))
          (again))))))

;; A procedure that gives the next line.
(define (line-reader channel queue)
  (define chunk (make-bytevector 4096))
  (define input "")
  (define (fill)
    (let ((n (channel-try-read channel (bytevector->pointer chunk) (bytevector-length chunk))))
      (cond ((= n AGAIN) (wait-event queue EV_WATCH))
            ((zero? n) (error "the server closed the connection"))
            (else (set! input (string-append input (pointer->string (bytevector->pointer chunk)
                                                                    n "UTF-8")))))))
  (lambda ()
    (let again ()
      (match (string-index input #\newline)
        (#f (fill) (again))
        (end (let ((line (substring input 0 end)))
               (set! input (substring input (1+ end)))
               line))))))

(define (send channel text)
  (let ((data (string->utf8 text)))
    (channel-write-all channel (bytevector->pointer data) (bytevector-length data))))

;; The descriptor goes along with the first byte; the set has a copy of it.
(define (send-file channel text port)
  (let ((data (string->utf8 text)))
    (with-handle (fds (fdset-new) fdset-unref)
      (fdset-add fds (fileno port))
      (unless (= (channel-writev channel (make-iovec data) 1 0 fds) (bytevector-length data))
        (error "the server takes no more")))))

(define (show . parts)
  (for-each display parts)
  (newline))

;;; ---- a channel of our own, which turns the letters of what passes through it ----

(define released 0)

(define (turn! bytes)
  (let ((around (lambda (byte first) (+ first (modulo (+ (- byte first) 13) 26)))))
    (do ((i 0 (1+ i))) ((= i (bytevector-length bytes)) bytes)
      (let ((byte (bytevector-u8-ref bytes i)))
        (cond ((<= 97 byte 122) (bytevector-u8-set! bytes i (around byte 97)))
              ((<= 65 byte 90) (bytevector-u8-set! bytes i (around byte 65))))))))

;; Nothing is thrown through C: it becomes the error of the call that needed the callback.
(define (guarded op)
  (lambda (user-data iov niov flags fds error)
    (catch #t
      (lambda () (match (parse-c-struct iov (list '* size_t)) ((base len) (op base len error))))
      (lambda (key who message arguments . _)
        (let* ((text (string->utf8 (apply format #f message (or arguments '()))))
               (place (pointer->bytevector error ERROR-SIZE))
               (length (min 479 (bytevector-length text))))
          (bytevector-copy! text 0 place 32 length)
          (bytevector-u8-set! place (+ 32 length) 0)
          CALLBACK)))))

(define (rot13-ops channel)
  (define (readv base len error)
    (let ((n (bare-try-read channel base len error)))
      (when (positive? n) (turn! (pointer->bytevector base n)))
      n))                               ; also AGAIN, or a failure that is in the error
  (define (writev base len error)
    (let ((bytes (bytevector-copy (pointer->bytevector base len))))
      (when (any (lambda (byte) (> byte 127)) (bytevector->u8-list bytes))
        (scm-error 'misc-error #f "only ASCII is turned" #f #f))
      (turn! bytes)
      (bare-try-write channel (bytevector->pointer bytes) len error)))
  (define (get-poll user-data condition fd events error)
    (bare-get-poll channel condition fd events error))
  (list (procedure->pointer int64 (guarded readv) (list '* '* size_t uint32 '* '*))
        (procedure->pointer int64 (guarded writev) (list '* '* size_t uint32 '* '*))
        (procedure->pointer int32 get-poll (list '* uint32 '* '* '*))
        (procedure->pointer void (lambda (user-data) (set! released (1+ released))) '(*))))

;; The library copies the struct, but what it points to has to live until the release.
(define (open-rot13 ops)
  (match ops
    ((readv writev get-poll release)
     (let ((layout (cons* uint32 uint32 (make-list 8 '*))))
       (channel-new-custom
        %null-pointer
        (make-c-struct layout (list (sizeof layout) 0 readv writev %null-pointer %null-pointer
                                    %null-pointer get-poll %null-pointer release))
        %null-pointer)))))

(define (talk-in-rot13 channel)
  (define ops (rot13-ops channel))
  (with-handle (turning (open-rot13 ops) channel-unref)
    (let ((answer (make-bytevector (string-length "a secret of guile\n"))))
      (send turning "a secret of guile\n")
      (channel-read-all turning (bytevector->pointer answer) (bytevector-length answer))
      (display (string-append "rot13: " (utf8->string answer)))
      (catch 'qio
        (lambda () (channel-write-all turning (bytevector->pointer (u8-list->bytevector '(255))) 1))
        (lambda (key code message) (show "refused: " (status-name code) ": " message)))))
  (show "released: " released)
  ops)

;;; ---- the conversation ----

(define (converse channel queue path)
  (define read-line (line-reader channel queue))
  (send channel "hello from guile\n")
  (show "event: " (read-line))
  (when (= (channel-has-feature channel FEATURE_FD_PASS) 1)
    (call-with-input-file path (lambda (port) (send-file channel "file\n" port)))
    (show "file: " (read-line))))

;; Gives the channel's handle, which is given up by then.
(define (connect uri path keys)
  (with-handle (channel (open-channel uri keys) channel-unref)
    (with-handle (queue (loop-new) loop-unref)
      (with-handle (watch (watch-new-queued queue channel IN COOKIE) watch-unref)
        (converse channel queue path)
        (talk-in-rot13 channel)
        ;; A watch that goes says so once: then whatever its cookie stood for may go.
        (watch-remove watch)
        (wait-event queue EV_RELEASED)
        (channel-close channel)
        channel))))

(define (talk uri path . keys)
  (let ((stale (connect uri path keys)))
    (catch 'qio
      (lambda () (send stale "x"))
      (lambda (key code message) (show "stale: " (status-name code))))
    (show "left: " (debug-live KIND_ANY))))

(define (complain . parts)
  (with-output-to-port (current-error-port) (lambda () (apply show "talk.scm: " parts))))

(match (cdr (command-line))
  ((or (_ _) (_ _ _ _))
   (catch #t
     (lambda () (apply talk (cdr (command-line))))
     (lambda (key . details)
       (match (cons key details)
         (('qio code message) (complain (status-name code) ": " message))
         ((_ _ message arguments . _) (complain (apply format #f message (or arguments '())))))
       (exit 1))))
  (_ (display "usage: talk.scm URI FILE [KEYS USER]\n" (current-error-port))
     (exit 2)))
