// SPDX-License-Identifier: LGPL-2.1-or-later

//! rot13: a channel that is written in Rust.

use crate::qio::{sys, Failure, Handle};
use std::os::raw::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, ptr, slice};

/// What a channel of our own is made of: it turns the letters of what passes through it.
pub struct Rot13 {
    inner: *mut sys::Channel,
}

pub static RELEASED: AtomicUsize = AtomicUsize::new(0);

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
    pub fn open(inner: *mut sys::Channel) -> Result<Handle<sys::Channel>, Failure> {
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
