// SPDX-License-Identifier: LGPL-2.1-or-later

package main

/*
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "qioh-abi.h"

// What is exported below, as C sees it.
int64_t rot13Readv(void *user, qioh_iovec *iov, size_t niov, uint32_t flags, qioh_fdset *fds,
                   qioh_error *error);
int64_t rot13Writev(void *user, qioh_iovec *iov, size_t niov, uint32_t flags, qioh_fdset *fds,
                    qioh_error *error);
int32_t rot13GetPoll(void *user, uint32_t condition, int32_t *fd, uint32_t *events,
                     qioh_error *error);
void rot13Release(void *user);
*/
import "C"

import (
	"fmt"
	"runtime/cgo"
	"unsafe"
)

// Rot13 is what a channel of our own is made of: it turns the letters of what passes through it.
type Rot13 struct {
	inner *C.qioh_channel
}

var released int

// OpenRot13 makes a channel over another one.  What C keeps is memory of C's, which
// holds a cgo.Handle: no pointer of Go's.
func OpenRot13(inner *Channel) (*Channel, error) {
	var ops C.qioh_channel_ops
	ops.struct_size = C.uint32_t(unsafe.Sizeof(ops))
	ops.readv = (*[0]byte)(C.rot13Readv)
	ops.writev = (*[0]byte)(C.rot13Writev)
	ops.get_poll = (*[0]byte)(C.rot13GetPoll)
	ops.release = (*[0]byte)(C.rot13Release)
	user := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(user) = cgo.NewHandle(&Rot13{inner.handle})
	var e C.qioh_error
	handle := C.qioh_channel_new_custom(nil, &ops, user, &e) // releases also when it fails
	return &Channel{handle: handle}, made(handle != nil, &e)
}

func self(user unsafe.Pointer) *Rot13 {
	return (*(*cgo.Handle)(user)).Value().(*Rot13)
}

// guarded lets no panic leave a callback: it becomes the error of the call that needed it.
func guarded(result *C.int64_t, e *C.qioh_error) {
	if why := recover(); why != nil {
		message := unsafe.Slice((*byte)(unsafe.Pointer(&e.message[0])), len(e.message))
		end := copy(message[:len(message)-1], fmt.Sprint(why))
		message[end] = 0
		*result = C.QIOH_E_CALLBACK
	}
}

func turn(text []byte) {
	for i, letter := range text {
		switch {
		case 'a' <= letter && letter <= 'z':
			text[i] = 'a' + (letter-'a'+13)%26
		case 'A' <= letter && letter <= 'Z':
			text[i] = 'A' + (letter-'A'+13)%26
		}
	}
}

//export rot13Readv
func rot13Readv(user unsafe.Pointer, iov *C.qioh_iovec, niov C.size_t, flags C.uint32_t,
	fds *C.qioh_fdset, e *C.qioh_error) (result C.int64_t) {
	defer guarded(&result, e)
	result = C.int64_t(C.qioh_channel_try_read(self(user).inner, iov.base, iov.len, e))
	if result > 0 {
		turn(unsafe.Slice((*byte)(iov.base), result))
	}
	return result // also AGAIN, or a failure that is in the error
}

//export rot13Writev
func rot13Writev(user unsafe.Pointer, iov *C.qioh_iovec, niov C.size_t, flags C.uint32_t,
	fds *C.qioh_fdset, e *C.qioh_error) (result C.int64_t) {
	defer guarded(&result, e)
	text := C.GoBytes(iov.base, C.int(iov.len))
	for _, letter := range text {
		if letter > 127 {
			panic("only ASCII is turned")
		}
	}
	turn(text)
	n := C.qioh_channel_try_write(self(user).inner, unsafe.Pointer(&text[0]), iov.len, e)
	return C.int64_t(n)
}

//export rot13GetPoll
func rot13GetPoll(user unsafe.Pointer, condition C.uint32_t, fd *C.int32_t, events *C.uint32_t,
	e *C.qioh_error) C.int32_t {
	return C.int32_t(C.qioh_channel_get_poll(self(user).inner, condition, fd, events, e))
}

//export rot13Release
func rot13Release(user unsafe.Pointer) {
	released++
	(*(*cgo.Handle)(user)).Delete()
	C.free(user)
}
