(* SPDX-License-Identifier: LGPL-2.1-or-later *)

(* talk: the conversation of ../README.md from OCaml, with ctypes.

     talk URI FILE [KEYS USER]

   ctypes reads no header, so what is used is declared by hand; a handle is a pointer that nobody
   looks behind.  A call that may wait would take ~release_runtime_lock:true beside threads. *)

open Ctypes

let again, callback_failed = -2L, -16L
let cond_in, ev_watch, ev_released, feature_fd_pass, kind_any = 1, 1, 7, 0, 0
let patience_ms, cookie = 20000, 7

(* ---- structs ---- *)

type error
let error : error structure typ = structure "qioh_error"
let _ = field error "struct_size" uint32_t
let code = field error "code" int
let _ = field error "sys_errno" int32_t
let _ = field error "domain" int32_t
let _ = field error "number" int64_t
let _ = field error "bytes" uint64_t
let message = field error "message" (array 480 char)
let () = seal error

type iovec
let iovec : iovec structure typ = structure "qioh_iovec"
let base = field iovec "base" (ptr void)
let len = field iovec "len" size_t
let () = seal iovec

type event
let event : event structure typ = structure "qioh_event"
let struct_size = field event "struct_size" uint32_t
let kind = field event "kind" uint32_t
let _ = field event "condition" uint32_t
let _ = field event "status" int32_t
let event_cookie = field event "cookie" uint64_t
let _ = field event "bytes" uint64_t
let _ = field event "handles" (array 4 (ptr void))
let () = seal event

let transfer_op =
  Foreign.funptr
    (ptr void @-> ptr iovec @-> camlint @-> int @-> ptr void @-> ptr error @-> returning int64_t)
let poll_op =
  Foreign.funptr
    (ptr void @-> int @-> ptr int32_t @-> ptr uint32_t @-> ptr error @-> returning int)
let release_op = Foreign.funptr (ptr void @-> returning void)

type ops
let ops : ops structure typ = structure "qioh_channel_ops"
let ops_size = field ops "struct_size" uint32_t
let _ = field ops "flags" uint32_t
let ops_readv = field ops "readv" transfer_op
let ops_writev = field ops "writev" transfer_op
let _ = field ops "close_shutdown_seek" (array 3 (ptr void))
let ops_get_poll = field ops "get_poll" poll_op
let _ = field ops "flush" (ptr void)
let ops_release = field ops "release" release_op
let () = seal ops

(* ---- functions ---- *)

let lib = Dl.dlopen ~filename:"libqio.so.0" ~flags:[Dl.RTLD_NOW]
let bare name = Foreign.foreign ~from:lib ("qioh_" ^ name)

let status_name = bare "status_name" (int @-> returning string)
let debug_live = bare "debug_live" (int @-> returning int64_t)

exception Qio of int * string

(* Makes a call with an error of its own and gives its result on; AGAIN is one. *)
let call f =
  let e = make error in
  let result = f (addr e) in
  if getf e code < 0 then
    raise (Qio (getf e code, coerce (ptr char) string (CArray.start (getf e message))));
  result

let handle = ptr void
let word = camlint                      (* size_t and uint64_t, as far as an int goes *)
let fails result = ptr error @-> returning result
let options_new = bare "options_new" (fails handle)
let options_set_str = bare "options_set_str" (handle @-> string @-> string @-> fails int)
let open_uri = bare "channel_open_uri" (string @-> handle @-> fails handle)
let write_all = bare "channel_write_all" (handle @-> string @-> word @-> fails int)
let writev =
  bare "channel_writev" (handle @-> ptr iovec @-> word @-> int @-> handle @-> fails int64_t)
let try_read = bare "channel_try_read" (handle @-> ptr char @-> word @-> fails int64_t)
let try_write = bare "channel_try_write" (handle @-> string @-> word @-> fails int64_t)
let read_all = bare "channel_read_all" (handle @-> ptr char @-> word @-> fails int)
let get_poll =
  bare "channel_get_poll" (handle @-> int @-> ptr int32_t @-> ptr uint32_t @-> fails int)
let new_custom = bare "channel_new_custom" (handle @-> ptr ops @-> ptr void @-> fails handle)
let has_feature = bare "channel_has_feature" (handle @-> int @-> fails int)
let channel_close = bare "channel_close" (handle @-> fails int)
let loop_new = bare "loop_new" (fails handle)
let next_events = bare "loop_next_events" (handle @-> ptr event @-> int @-> int @-> fails int)
let watch_new_queued = bare "watch_new_queued" (handle @-> handle @-> int @-> word @-> fails handle)
let watch_remove = bare "watch_remove" (handle @-> fails int)
let fdset_new = bare "fdset_new" (fails handle)
let fdset_add = bare "fdset_add" (handle @-> int @-> fails int)

(* Lends a handle and gives it up, however that ends. *)
let with_handle noun token use =
  let unref = bare (noun ^ "_unref") (handle @-> returning void) in
  Fun.protect ~finally:(fun () -> unref token) (fun () -> use token)

(* ---- a channel with a loop whose queue says when there is something to read ---- *)

type connection = { channel : unit ptr; queue : unit ptr; watch : unit ptr; input : Buffer.t }

let open_channel uri keys =
  with_handle "options" (call options_new) @@ fun options ->
  List.iter (fun (key, value) -> ignore (call (options_set_str options key value))) keys;
  call (open_uri uri options)

let connect uri keys use =
  with_handle "channel" (open_channel uri keys) @@ fun channel ->
  with_handle "loop" (call loop_new) @@ fun queue ->
  with_handle "watch" (call (watch_new_queued queue channel cond_in cookie)) @@ fun watch ->
  use { channel; queue; watch; input = Buffer.create 4096 }

(* Fetches events until one of the kind has come; nothing calls back. *)
let rec wait_event c wanted =
  let events = CArray.make event 8 in
  setf (CArray.get events 0) struct_size (Unsigned.UInt32.of_int (sizeof event));
  let count = call (next_events c.queue (CArray.start events) 8 patience_ms) in
  if count = 0 then failwith "the server says nothing";
  let is_it event =
    Unsigned.UInt32.to_int (getf event kind) = wanted
    && Unsigned.UInt64.to_int (getf event event_cookie) = cookie
  in
  let came = List.filteri (fun i _ -> i < count) (CArray.to_list events) in
  if not (List.exists is_it came) then wait_event c wanted

let rec read_line c =
  let text = Buffer.contents c.input in
  match String.index_opt text '\n' with
  | Some stop ->
      Buffer.clear c.input;
      Buffer.add_substring c.input text (stop + 1) (String.length text - stop - 1);
      String.sub text 0 stop
  | None ->
      let chunk = CArray.make char 4096 in
      let n = call (try_read c.channel (CArray.start chunk) 4096) in
      if n = again then wait_event c ev_watch
      else if n = 0L then failwith "the server closed the connection"
      else
        Buffer.add_string c.input
          (string_from_ptr (CArray.start chunk) ~length:(Int64.to_int n));
      read_line c

let send channel text = ignore (call (write_all channel text (String.length text)))

(* The descriptor goes along with the first byte; the set has a copy of it. *)
let send_file c text (file : Unix.file_descr) =
  let data = CArray.of_string text in
  let iov = make iovec in
  setf iov base (to_voidp (CArray.start data));
  setf iov len (Unsigned.Size_t.of_int (String.length text));
  with_handle "fdset" (call fdset_new) @@ fun fds ->
  ignore (call (fdset_add fds (Obj.magic file : int)));      (* on Unix it is the number *)
  ignore (call (writev c.channel (addr iov) 1 0 fds));
  ignore (Sys.opaque_identity data)                          (* until here nobody frees it *)

(* A watch that goes says so once: then whatever its cookie stood for may go. *)
let close c =
  ignore (call (watch_remove c.watch));
  wait_event c ev_released;
  ignore (call (channel_close c.channel))

(* ---- a channel of our own, which turns the letters of what passes through it ---- *)

let released = ref 0

let turn =
  let around first letter = Char.chr (first + ((Char.code letter - first + 13) mod 26)) in
  String.map (function
    | 'a' .. 'z' as letter -> around 97 letter
    | 'A' .. 'Z' as letter -> around 65 letter
    | other -> other)

let fill place text =
  String.iteri (fun i letter -> place +@ i <-@ letter) text

(* No exception leaves a callback: it becomes the error of the call that needed it. *)
let guarded op _user_data iov _niov _flags _fds e =
  try op (from_voidp char (getf !@iov base)) (Unsigned.Size_t.to_int (getf !@iov len)) e
  with exn ->
    let text = match exn with Failure text -> text | other -> Printexc.to_string other in
    let fits = String.sub text 0 (min 479 (String.length text)) in
    fill (CArray.start (getf !@e message)) (fits ^ "\000");
    callback_failed

let rot13_readv channel place room e =
  let n = try_read channel place room e in
  if n > 0L then fill place (turn (string_from_ptr place ~length:(Int64.to_int n)));
  n                                     (* also again, or a failure that is in e *)

let rot13_writev channel place length e =
  let text = string_from_ptr place ~length in
  if String.exists (fun letter -> Char.code letter > 127) text then
    failwith "only ASCII is turned";
  try_write channel (turn text) length e

let rot13_ops channel =
  let it = make ops in
  setf it ops_size (Unsigned.UInt32.of_int (sizeof ops));
  setf it ops_readv (guarded (rot13_readv channel));
  setf it ops_writev (guarded (rot13_writev channel));
  setf it ops_get_poll (fun _ condition fd events e -> get_poll channel condition fd events e);
  setf it ops_release (fun _ -> incr released);
  it

let talk_in_rot13 channel =
  let secret = "a secret of ocaml\n" in
  let answer = CArray.make char (String.length secret) in
  let it = rot13_ops channel in
  with_handle "channel" (call (new_custom null (addr it) null)) (fun turning ->
      send turning secret;
      ignore (call (read_all turning (CArray.start answer) (CArray.length answer)));
      let text = string_from_ptr (CArray.start answer) ~length:(CArray.length answer) in
      print_string ("rot13: " ^ text);
      try send turning "\255"
      with Qio (code, text) -> Printf.printf "refused: %s: %s\n" (status_name code) text);
  ignore (Sys.opaque_identity it);      (* its functions have to live until the release *)
  Printf.printf "released: %d\n" !released

(* ---- the conversation ---- *)

let pass_file c path =
  let file = Unix.openfile path [ Unix.O_RDONLY; Unix.O_CLOEXEC ] 0 in
  Fun.protect ~finally:(fun () -> Unix.close file) (fun () -> send_file c "file\n" file)

(* Gives the channel's handle, which is given up once connect is over. *)
let converse path c =
  send c.channel "hello from ocaml\n";
  Printf.printf "event: %s\n" (read_line c);
  if call (has_feature c.channel feature_fd_pass) = 1 then begin
    pass_file c path;
    Printf.printf "file: %s\n" (read_line c)
  end;
  talk_in_rot13 c.channel;
  close c;
  c.channel

let talk uri path keys =
  let stale = connect uri keys (converse path) in
  (try send stale "x" with Qio (code, _) -> Printf.printf "stale: %s\n" (status_name code));
  Printf.printf "left: %Ld\n" (debug_live kind_any)

let fail status text =
  prerr_endline text;
  exit status

let () =
  try
    match List.tl (Array.to_list Sys.argv) with
    | [ uri; path ] -> talk uri path []
    | [ uri; path; keys; user ] ->
        talk uri path [ ("tls-psk-file", keys); ("tls-psk-user", user) ]
    | _ -> fail 2 "usage: talk URI FILE [KEYS USER]"
  with
  | Qio (code, message) -> fail 1 (Printf.sprintf "talk: %s: %s" (status_name code) message)
  | Failure message | Unix.Unix_error (_, _, message) -> fail 1 ("talk: " ^ message)
