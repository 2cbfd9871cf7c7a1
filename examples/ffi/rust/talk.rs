// SPDX-License-Identifier: LGPL-2.1-or-later

//! talk: the conversation of ../README.md from Rust, without a crate.
//!
//!     talk URI FILE [KEYS USER]
//!
//! What is used of the flat ABI is declared by hand in `sys`.  A handle is a raw pointer whose
//! value is a number that the library checks; `Handle` gives it up when it is dropped.

use std::ffi::{CStr, CString};
use std::os::raw::c_void;
use std::os::unix::io::AsRawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fmt, fs::File, io, panic, ptr, slice};

mod sys {
    use std::os::raw::{c_char, c_void};

    pub const AGAIN: i64 = -2;
    pub const E_CALLBACK: i64 = -16;
    pub const IN: u32 = 1;
    pub const EV_WATCH: u32 = 1;
    pub const EV_RELEASED: u32 = 7;
    pub const FEATURE_FD_PASS: u32 = 0;
    pub const KIND_ANY: u32 = 0;

    macro_rules! handles {
        ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
    }
    handles! { Channel Loop Watch Options Fdset Task Listener }

    #[repr(C)]
    pub struct Error {
        pub struct_size: u32,
        pub code: i32,
        pub sys_errno: i32,
        pub domain: i32,
        pub number: i64,
        pub bytes: u64,
        pub message: [c_char; 480],
    }

    #[repr(C)]
    pub struct Iovec {
        pub base: *mut c_void,
        pub len: usize,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Event {
        pub struct_size: u32,
        pub kind: u32,
        pub condition: u32,
        pub status: i32,
        pub cookie: u64,
        pub bytes: u64,
        pub channel: *mut Channel,
        pub watch: *mut Watch,
        pub task: *mut Task,
        pub listener: *mut Listener,
    }

    type TransferOp = unsafe extern "C" fn(
        *mut c_void, *const Iovec, usize, u32, *mut Fdset, *mut Error,
    ) -> i64;
    type PollOp =
        unsafe extern "C" fn(*mut c_void, u32, *mut i32, *mut u32, *mut Error) -> i32;

    #[repr(C)]
    #[derive(Default)]
    pub struct ChannelOps {
        pub struct_size: u32,
        pub flags: u32,
        pub readv: Option<TransferOp>,
        pub writev: Option<TransferOp>,
        pub close: Option<unsafe extern "C" fn()>,      // what stays None has a default
        pub shutdown: Option<unsafe extern "C" fn()>,
        pub seek: Option<unsafe extern "C" fn()>,
        pub get_poll: Option<PollOp>,
        pub flush: Option<unsafe extern "C" fn()>,
        pub release: Option<unsafe extern "C" fn(*mut c_void)>,
    }

    #[link(name = "qio")]
    extern "C" {
        pub fn qioh_status_name(code: i32) -> *const c_char;
        pub fn qioh_debug_live(kind: u32) -> i64;
        pub fn qioh_options_new(error: *mut Error) -> *mut Options;
        pub fn qioh_options_set_str(
            options: *mut Options, key: *const c_char, value: *const c_char, error: *mut Error,
        ) -> i32;
        pub fn qioh_options_unref(options: *mut Options);
        pub fn qioh_channel_open_uri(
            uri: *const c_char, options: *mut Options, error: *mut Error,
        ) -> *mut Channel;
        pub fn qioh_channel_unref(channel: *mut Channel);
        pub fn qioh_channel_close(channel: *mut Channel, error: *mut Error) -> i32;
        pub fn qioh_channel_try_read(
            channel: *mut Channel, buf: *mut c_void, len: usize, error: *mut Error,
        ) -> i64;
        pub fn qioh_channel_try_write(
            channel: *mut Channel, buf: *const c_void, len: usize, error: *mut Error,
        ) -> i64;
        pub fn qioh_channel_read_all(
            channel: *mut Channel, buf: *mut c_void, len: usize, error: *mut Error,
        ) -> i32;
        pub fn qioh_channel_get_poll(
            channel: *mut Channel, condition: u32, fd: *mut i32, events: *mut u32,
            error: *mut Error,
        ) -> i32;
        pub fn qioh_channel_new_custom(
            queue: *mut Loop, ops: *const ChannelOps, user_data: *mut c_void, error: *mut Error,
        ) -> *mut Channel;
        pub fn qioh_channel_write_all(
            channel: *mut Channel, buf: *const c_void, len: usize, error: *mut Error,
        ) -> i32;
        pub fn qioh_channel_writev(
            channel: *mut Channel, iov: *const Iovec, niov: usize, flags: u32, fds: *mut Fdset,
            error: *mut Error,
        ) -> i64;
        pub fn qioh_channel_has_feature(
            channel: *mut Channel, feature: u32, error: *mut Error,
        ) -> i32;
        pub fn qioh_loop_new(error: *mut Error) -> *mut Loop;
        pub fn qioh_loop_unref(queue: *mut Loop);
        pub fn qioh_loop_next_events(
            queue: *mut Loop, events: *mut Event, cap: u32, timeout_ms: i32, error: *mut Error,
        ) -> i32;
        pub fn qioh_watch_new_queued(
            queue: *mut Loop, channel: *mut Channel, condition: u32, cookie: u64,
            error: *mut Error,
        ) -> *mut Watch;
        pub fn qioh_watch_remove(watch: *mut Watch, error: *mut Error) -> i32;
        pub fn qioh_watch_unref(watch: *mut Watch);
        pub fn qioh_fdset_new(error: *mut Error) -> *mut Fdset;
        pub fn qioh_fdset_add(fds: *mut Fdset, fd: i32, error: *mut Error) -> i32;
        pub fn qioh_fdset_unref(fds: *mut Fdset);
    }
}

// ---- errors and handles ----

#[derive(Debug)]
enum Failure {
    Qio { code: i32, message: String },
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Qio { code, message } => write!(f, "{}: {}", status_name(*code), message),
            Failure::Other(message) => f.write_str(message),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Other(error.to_string())
    }
}

fn status_name(code: i32) -> String {
    unsafe { CStr::from_ptr(sys::qioh_status_name(code)) }.to_string_lossy().into_owned()
}

/// Makes a call with an error of its own and gives its result on; AGAIN leaves the error as it is.
fn call<R>(function: impl FnOnce(*mut sys::Error) -> R) -> Result<R, Failure> {
    let mut error: sys::Error = unsafe { std::mem::zeroed() };
    let result = function(&mut error);
    if error.code < 0 {
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        return Err(Failure::Qio { code: error.code, message: message.to_string_lossy().into() });
    }
    Ok(result)
}

/// An owned handle.
struct Handle<T> {
    raw: *mut T,
    unref: unsafe extern "C" fn(*mut T),
}

impl<T> Handle<T> {
    fn new(
        unref: unsafe extern "C" fn(*mut T), function: impl FnOnce(*mut sys::Error) -> *mut T,
    ) -> Result<Self, Failure> {
        Ok(Handle { raw: call(function)?, unref })
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        unsafe { (self.unref)(self.raw) }
    }
}

fn text(value: &str) -> Result<CString, Failure> {
    CString::new(value).map_err(|error| Failure::Other(error.to_string()))
}

// ---- a channel with a loop whose queue says when there is something to read ----

const PATIENCE_MS: i32 = 20_000;
const COOKIE: u64 = 7;

struct Connection {
    watch: Handle<sys::Watch>,
    queue: Handle<sys::Loop>,
    channel: Handle<sys::Channel>,
    input: Vec<u8>,
}

impl Connection {
    fn open(uri: &str, keys: Option<(&str, &str)>) -> Result<Self, Failure> {
        unsafe {
            let options = Handle::new(sys::qioh_options_unref, |e| sys::qioh_options_new(e))?;
            if let Some((file, user)) = keys {
                let (file, user) = (text(file)?, text(user)?);
                for (key, value) in [("tls-psk-file", file), ("tls-psk-user", user)] {
                    let key = text(key)?;
                    call(|e| {
                        sys::qioh_options_set_str(options.raw, key.as_ptr(), value.as_ptr(), e)
                    })?;
                }
            }
            let uri = text(uri)?;
            let channel = Handle::new(sys::qioh_channel_unref, |e| {
                sys::qioh_channel_open_uri(uri.as_ptr(), options.raw, e)
            })?;
            let queue = Handle::new(sys::qioh_loop_unref, |e| sys::qioh_loop_new(e))?;
            let watch = Handle::new(sys::qioh_watch_unref, |e| {
                sys::qioh_watch_new_queued(queue.raw, channel.raw, sys::IN, COOKIE, e)
            })?;
            Ok(Connection { watch, queue, channel, input: Vec::new() })
        }
    }

    /// Fetches events until one of the kind has come; nothing calls back.
    fn wait_event(&mut self, kind: u32) -> Result<(), Failure> {
        let mut events: [sys::Event; 8] = unsafe { std::mem::zeroed() };
        events[0].struct_size = std::mem::size_of::<sys::Event>() as u32;
        loop {
            let count = call(|e| unsafe {
                sys::qioh_loop_next_events(
                    self.queue.raw, events.as_mut_ptr(), events.len() as u32, PATIENCE_MS, e)
            })?;
            if count == 0 {
                return Err(Failure::Other("the server says nothing".into()));
            }
            let came = &events[..count as usize];
            if came.iter().any(|event| event.kind == kind && event.cookie == COOKIE) {
                return Ok(());
            }
        }
    }

    fn read_line(&mut self) -> Result<String, Failure> {
        let mut chunk = [0u8; 4096];
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let n = call(|e| unsafe {
                sys::qioh_channel_try_read(
                    self.channel.raw, chunk.as_mut_ptr().cast(), chunk.len(), e)
            })?;
            match n {
                sys::AGAIN => self.wait_event(sys::EV_WATCH)?,
                0 => return Err(Failure::Other("the server closed the connection".into())),
                n => self.input.extend_from_slice(&chunk[..n as usize]),
            }
        }
    }

    fn send(&self, text: &str) -> Result<(), Failure> {
        write_all(self.channel.raw, text.as_bytes())
    }

    /// The descriptor goes along with the first byte; the set has a copy of it.
    fn send_file(&self, text: &str, file: &File) -> Result<(), Failure> {
        let fds = Handle::new(sys::qioh_fdset_unref, |e| unsafe { sys::qioh_fdset_new(e) })?;
        call(|e| unsafe { sys::qioh_fdset_add(fds.raw, file.as_raw_fd(), e) })?;
        let iov = sys::Iovec { base: text.as_ptr() as *mut _, len: text.len() };
        call(|e| unsafe { sys::qioh_channel_writev(self.channel.raw, &iov, 1, 0, fds.raw, e) })?;
        Ok(())
    }

    fn passes_files(&self) -> Result<bool, Failure> {
        let has = call(|e| unsafe {
            sys::qioh_channel_has_feature(self.channel.raw, sys::FEATURE_FD_PASS, e)
        })?;
        Ok(has == 1)
    }

    /// A watch that goes says so once: then whatever its cookie stood for may go.
    fn close(&mut self) -> Result<(), Failure> {
        call(|e| unsafe { sys::qioh_watch_remove(self.watch.raw, e) })?;
        self.wait_event(sys::EV_RELEASED)?;
        call(|e| unsafe { sys::qioh_channel_close(self.channel.raw, e) })?;
        Ok(())
    }
}

fn write_all(channel: *mut sys::Channel, data: &[u8]) -> Result<(), Failure> {
    call(|e| unsafe { sys::qioh_channel_write_all(channel, data.as_ptr().cast(), data.len(), e) })?;
    Ok(())
}

// ---- a channel of our own ----

/// What it is made of: it turns the letters of what passes through it.
struct Rot13 {
    inner: *mut sys::Channel,
}

static RELEASED: AtomicUsize = AtomicUsize::new(0);

fn turn(text: &[u8]) -> Vec<u8> {
    let turned = |first: u8, letter: u8| first + (letter - first + 13) % 26;
    text.iter()
        .map(|&letter| match letter {
            b'a'..=b'z' => turned(b'a', letter),
            b'A'..=b'Z' => turned(b'A', letter),
            other => other,
        })
        .collect()
}

impl Rot13 {
    fn open(inner: *mut sys::Channel) -> Result<Handle<sys::Channel>, Failure> {
        let ops = sys::ChannelOps {
            struct_size: std::mem::size_of::<sys::ChannelOps>() as u32,
            readv: Some(rot13_readv),
            writev: Some(rot13_writev),
            get_poll: Some(rot13_get_poll),
            release: Some(rot13_release),
            ..Default::default()
        };
        let user_data = Box::into_raw(Box::new(Rot13 { inner })).cast();
        Handle::new(sys::qioh_channel_unref, |e| unsafe {
            sys::qioh_channel_new_custom(ptr::null_mut(), &ops, user_data, e)
        })
    }

    unsafe fn read(&self, iov: &sys::Iovec, error: *mut sys::Error) -> i64 {
        let n = sys::qioh_channel_try_read(self.inner, iov.base, iov.len, error);
        if n > 0 {
            let bytes = slice::from_raw_parts_mut(iov.base.cast::<u8>(), n as usize);
            bytes.copy_from_slice(&turn(bytes));
        }
        n // also AGAIN, or a failure that is in the error
    }

    unsafe fn write(&self, iov: &sys::Iovec, error: *mut sys::Error) -> i64 {
        let text = slice::from_raw_parts(iov.base.cast::<u8>(), iov.len);
        if !text.is_ascii() {
            return fail(error, "only ASCII is turned");
        }
        sys::qioh_channel_try_write(self.inner, turn(text).as_ptr().cast(), iov.len, error)
    }
}

unsafe fn fail(error: *mut sys::Error, text: &str) -> i64 {
    for (place, byte) in (*error).message[..479].iter_mut().zip(text.bytes().chain([0])) {
        *place = byte as _;
    }
    sys::E_CALLBACK
}

/// No panic leaves a callback: it becomes the error of the call that needed it.
unsafe fn guarded(error: *mut sys::Error, op: impl FnOnce() -> i64 + panic::UnwindSafe) -> i64 {
    panic::catch_unwind(op).unwrap_or_else(|_| fail(error, "a panic in Rust"))
}

unsafe extern "C" fn rot13_readv(
    user_data: *mut c_void, iov: *const sys::Iovec, _niov: usize, _flags: u32,
    _fds: *mut sys::Fdset, error: *mut sys::Error,
) -> i64 {
    guarded(error, || (*user_data.cast::<Rot13>()).read(&*iov, error))
}

unsafe extern "C" fn rot13_writev(
    user_data: *mut c_void, iov: *const sys::Iovec, _niov: usize, _flags: u32,
    _fds: *mut sys::Fdset, error: *mut sys::Error,
) -> i64 {
    guarded(error, || (*user_data.cast::<Rot13>()).write(&*iov, error))
}

unsafe extern "C" fn rot13_get_poll(
    user_data: *mut c_void, condition: u32, fd: *mut i32, events: *mut u32,
    error: *mut sys::Error,
) -> i32 {
    sys::qioh_channel_get_poll((*user_data.cast::<Rot13>()).inner, condition, fd, events, error)
}

unsafe extern "C" fn rot13_release(user_data: *mut c_void) {
    RELEASED.fetch_add(1, Ordering::Relaxed);
    drop(Box::from_raw(user_data.cast::<Rot13>()));
}

fn talk_in_rot13(channel: *mut sys::Channel) -> Result<(), Failure> {
    let secret = b"a secret of rust\n";
    let turning = Rot13::open(channel)?;
    write_all(turning.raw, secret)?;
    let mut answer = vec![0u8; secret.len()];
    call(|e| unsafe {
        sys::qioh_channel_read_all(turning.raw, answer.as_mut_ptr().cast(), answer.len(), e)
    })?;
    print!("rot13: {}", String::from_utf8_lossy(&answer));
    if let Err(failure) = write_all(turning.raw, &[255]) {
        println!("refused: {failure}");
    }
    drop(turning);
    println!("released: {}", RELEASED.load(Ordering::Relaxed));
    Ok(())
}

// ---- the conversation ----

/// Gives the channel's handle, which is given up by then.
fn converse(
    uri: &str, path: &str, keys: Option<(&str, &str)>,
) -> Result<*mut sys::Channel, Failure> {
    let mut connection = Connection::open(uri, keys)?;
    connection.send("hello from rust\n")?;
    println!("event: {}", connection.read_line()?);
    if connection.passes_files()? {
        connection.send_file("file\n", &File::open(path)?)?;
        println!("file: {}", connection.read_line()?);
    }
    talk_in_rot13(connection.channel.raw)?;
    connection.close()?;
    Ok(connection.channel.raw)
}

fn talk(uri: &str, path: &str, keys: Option<(&str, &str)>) -> Result<(), Failure> {
    let stale = converse(uri, path, keys)?;
    if let Err(Failure::Qio { code, .. }) = write_all(stale, b"x") {
        println!("stale: {}", status_name(code));
    }
    println!("left: {}", unsafe { sys::qioh_debug_live(sys::KIND_ANY) });
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let keys = match args.len() {
        2 => None,
        4 => Some((args[2].as_str(), args[3].as_str())),
        _ => {
            eprintln!("usage: talk URI FILE [KEYS USER]");
            return ExitCode::from(2);
        }
    };
    if let Err(failure) = talk(&args[0], &args[1], keys) {
        eprintln!("talk: {failure}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
