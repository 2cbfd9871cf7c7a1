// SPDX-License-Identifier: LGPL-2.1-or-later

//! talk: the conversation of ../README.md from Rust, without a crate.
//!
//!     talk URI FILE [KEYS USER]

mod qio;
mod rot13;

use qio::{call, status_name, sys, text, Failure, Handle};
use rot13::{Rot13, RELEASED};
use std::os::unix::io::AsRawFd;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::{env, fs::File};

const PATIENCE_MS: i32 = 20_000;
const COOKIE: u64 = 7;

/// A channel with a loop whose queue says when there is something to read.
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
