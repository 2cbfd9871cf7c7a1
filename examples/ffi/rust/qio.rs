// SPDX-License-Identifier: LGPL-2.1-or-later

//! qio: what is used of the flat ABI, declared by hand in `sys`, its errors as `Failure` and its
//! handles as `Handle`, which gives one up when it is dropped.
//!
//! A handle is a raw pointer whose value is a number that the library checks.

use std::ffi::{CStr, CString};
use std::{fmt, io};

pub mod sys {
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

#[derive(Debug)]
pub enum Failure {
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

pub fn status_name(code: i32) -> String {
    unsafe { CStr::from_ptr(sys::qioh_status_name(code)) }.to_string_lossy().into_owned()
}

/// Makes a call with an error of its own and gives its result on; AGAIN leaves the error as it is.
pub fn call<R>(function: impl FnOnce(*mut sys::Error) -> R) -> Result<R, Failure> {
    let mut error: sys::Error = unsafe { std::mem::zeroed() };
    let result = function(&mut error);
    if error.code < 0 {
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        return Err(Failure::Qio { code: error.code, message: message.to_string_lossy().into() });
    }
    Ok(result)
}

/// An owned handle.
pub struct Handle<T> {
    pub raw: *mut T,
    unref: unsafe extern "C" fn(*mut T),
}

impl<T> Handle<T> {
    pub fn new(
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

pub fn text(value: &str) -> Result<CString, Failure> {
    CString::new(value).map_err(|error| Failure::Other(error.to_string()))
}
