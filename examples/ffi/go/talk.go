// SPDX-License-Identifier: LGPL-2.1-or-later

// Command talk holds the conversation of ../README.md from Go.
//
//	talk URI FILE [KEYS USER]
//
// cgo compiles the header of the flat ABI as it is.  A goroutine may change its thread between any
// two calls: nothing in the library belongs to a thread, and an error belongs to its call.
package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../../core/abi
#cgo LDFLAGS: -lqio
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "qioh-abi.h"
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"
)

const (
	patienceMs = 20000
	cookie     = 7
)

// Error is what a call that failed says.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string {
	return statusName(e.Code) + ": " + e.Message
}

func statusName(code int) string {
	return C.GoString(C.qioh_status_name(C.qioh_status(code)))
}

// made is the error of a call that makes a handle, or nil.
func made(ok bool, e *C.qioh_error) error {
	if ok {
		return nil
	}
	return &Error{int(e.code), C.GoString(&e.message[0])}
}

// check is the error of a call with a result, or nil.
func check(result int64, e *C.qioh_error) error {
	return made(result >= 0, e)
}

func setOption(options *C.qioh_options, key, value string) error {
	ckey, cvalue := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(ckey))
	defer C.free(unsafe.Pointer(cvalue))
	var e C.qioh_error
	return check(int64(C.qioh_options_set_str(options, ckey, cvalue, &e)), &e)
}

// Channel is a connection; what it has not got yet is nil, which gives up as well.
type Channel struct {
	handle *C.qioh_channel
	loop   *C.qioh_loop // its queue says when there is something to read
	watch  *C.qioh_watch
	input  []byte
}

// Open connects; keys and user may be empty.
func Open(uri, keys, user string) (_ *Channel, err error) {
	var e C.qioh_error
	options := C.qioh_options_new(&e)
	if err := made(options != nil, &e); err != nil {
		return nil, err
	}
	defer C.qioh_options_unref(options)
	if keys != "" {
		if err := setOption(options, "tls-psk-file", keys); err != nil {
			return nil, err
		}
		if err := setOption(options, "tls-psk-user", user); err != nil {
			return nil, err
		}
	}
	curi := C.CString(uri)
	defer C.free(unsafe.Pointer(curi))
	c := &Channel{}
	defer func() {
		if err != nil {
			c.giveUp()
		}
	}()
	if c.handle = C.qioh_channel_open_uri(curi, options, &e); c.handle == nil {
		return nil, made(false, &e)
	}
	if c.loop = C.qioh_loop_new(&e); c.loop == nil {
		return nil, made(false, &e)
	}
	c.watch = C.qioh_watch_new_queued(c.loop, c.handle, C.QIOH_IN, cookie, &e)
	return c, made(c.watch != nil, &e)
}

// waitEvent fetches events until one of the kind has come; nothing calls back.
func (c *Channel) waitEvent(kind C.uint32_t) error {
	var events [8]C.qioh_event
	events[0].struct_size = C.uint32_t(unsafe.Sizeof(events[0]))
	for {
		var e C.qioh_error
		n := C.qioh_loop_next_events(c.loop, &events[0], C.uint32_t(len(events)), patienceMs, &e)
		if err := check(int64(n), &e); err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the server says nothing")
		}
		for _, event := range events[:n] {
			if event.kind == kind && event.cookie == cookie {
				return nil
			}
		}
	}
}

// ReadLine waits for a line and gives it without its end.
func (c *Channel) ReadLine() (string, error) {
	chunk := make([]byte, 4096)
	for {
		if line, rest, found := bytes.Cut(c.input, []byte{'\n'}); found {
			c.input = rest
			return string(line), nil
		}
		var e C.qioh_error
		n := C.qioh_channel_try_read(c.handle, unsafe.Pointer(&chunk[0]), C.size_t(len(chunk)), &e)
		if n == C.QIOH_E_AGAIN {
			if err := c.waitEvent(C.QIOH_EV_WATCH); err != nil {
				return "", err
			}
			continue
		}
		if err := check(int64(n), &e); err != nil {
			return "", err
		}
		if n == 0 {
			return "", errors.New("the server closed the connection")
		}
		c.input = append(c.input, chunk[:n]...)
	}
}

// Write makes a Channel an io.Writer.
func (c *Channel) Write(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	var e C.qioh_error
	result := C.qioh_channel_write_all(c.handle, unsafe.Pointer(&data[0]), C.size_t(len(data)), &e)
	if err := check(int64(result), &e); err != nil {
		return int(e.bytes), err
	}
	return len(data), nil
}

// ReadFull waits until the buffer is full.
func (c *Channel) ReadFull(buffer []byte) error {
	var e C.qioh_error
	place := unsafe.Pointer(&buffer[0])
	return check(int64(C.qioh_channel_read_all(c.handle, place, C.size_t(len(buffer)), &e)), &e)
}

// SendFile sends the descriptor along with the first byte; the set has a copy of it.
func (c *Channel) SendFile(text string, file *os.File) error {
	var e C.qioh_error
	fds := C.qioh_fdset_new(&e)
	if err := made(fds != nil, &e); err != nil {
		return err
	}
	defer C.qioh_fdset_unref(fds)
	if err := check(int64(C.qioh_fdset_add(fds, C.int32_t(file.Fd()), &e)), &e); err != nil {
		return err
	}
	data := C.CBytes([]byte(text)) // what the block points to has to lie in C's memory
	defer C.free(data)
	iov := C.qioh_iovec{base: data, len: C.size_t(len(text))}
	return check(int64(C.qioh_channel_writev(c.handle, &iov, 1, 0, fds, &e)), &e)
}

// CanPassFiles tells whether the channel passes descriptors.
func (c *Channel) CanPassFiles() bool {
	return C.qioh_channel_has_feature(c.handle, C.QIOH_FEATURE_FD_PASS, nil) == 1
}

// Close ends it.  A watch that goes says so once: then whatever its cookie stood for may go.
func (c *Channel) Close() error {
	defer c.giveUp()
	var e C.qioh_error
	if err := check(int64(C.qioh_watch_remove(c.watch, &e)), &e); err != nil {
		return err
	}
	if err := c.waitEvent(C.QIOH_EV_RELEASED); err != nil {
		return err
	}
	return check(int64(C.qioh_channel_close(c.handle, &e)), &e)
}

func (c *Channel) giveUp() {
	C.qioh_watch_unref(c.watch)
	C.qioh_loop_unref(c.loop)
	C.qioh_channel_unref(c.handle)
}

func passFile(c *Channel, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return c.SendFile("file\n", file)
}

func converse(c *Channel, path string) error {
	if _, err := fmt.Fprintln(c, "hello from go"); err != nil {
		return err
	}
	line, err := c.ReadLine()
	if err != nil {
		return err
	}
	fmt.Println("event:", line)
	if !c.CanPassFiles() {
		return nil
	}
	if err := passFile(c, path); err != nil {
		return err
	}
	if line, err = c.ReadLine(); err != nil {
		return err
	}
	fmt.Println("file:", line)
	return nil
}

func talkInRot13(c *Channel) error {
	turning, err := OpenRot13(c)
	if err != nil {
		return err
	}
	secret := "a secret of go\n"
	answer := make([]byte, len(secret))
	if _, err = io.WriteString(turning, secret); err == nil {
		err = turning.ReadFull(answer)
	}
	if err == nil {
		fmt.Print("rot13: ", string(answer))
		if _, refused := turning.Write([]byte{255}); refused != nil {
			fmt.Println("refused:", refused)
		}
	}
	turning.giveUp()
	fmt.Println("released:", released)
	return err
}

func talk(uri, path, keys, user string) error {
	c, err := Open(uri, keys, user)
	if err != nil {
		return err
	}
	if err = converse(c, path); err == nil {
		err = talkInRot13(c)
	}
	if closed := c.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	var stale *Error
	if _, err := c.Write([]byte("x")); errors.As(err, &stale) {
		fmt.Println("stale:", statusName(stale.Code))
	}
	fmt.Println("left:", C.qioh_debug_live(C.QIOH_KIND_ANY))
	return nil
}

func main() {
	args := os.Args[1:]
	if len(args) != 2 && len(args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: talk URI FILE [KEYS USER]")
		os.Exit(2)
	}
	args = append(args, "", "")
	if err := talk(args[0], args[1], args[2], args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "talk:", err)
		os.Exit(1)
	}
}
