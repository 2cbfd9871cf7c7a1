// SPDX-License-Identifier: LGPL-2.1-or-later

// Command threads uses many channels from goroutines that no thread belongs to.
//
//	threads CHANNELS ROUNDS
//
// Two goroutines play on each pair of channels: one asks and waits for the answer, the other is
// one of the pumps that take turns at the one loop.  Between any two calls the scheduler may put
// a goroutine on another thread.  Each asker fails on purpose as well, and finds its own words in
// its own error.  Prints what was done and by how many threads; exit status 1 on any surprise.
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
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const message = 16 // bytes of one

type channel struct {
	asks, answers *C.qioh_channel
	mutex         sync.Mutex
	threads       map[int]bool // those that have made a call on it
}

func (c *channel) seen() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.threads[syscall.Gettid()] = true
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// must ends the program when the call failed; AGAIN is no failure.
func must(what string, result int64, e *C.qioh_error) int64 {
	if result < 0 && result != C.QIOH_E_AGAIN {
		die("%s: %s", what, C.GoString(&e.message[0]))
	}
	return result
}

func (c *channel) ask(number, rounds int) {
	for round := 0; round < rounds; round++ {
		question := []byte(fmt.Sprintf("%7d %8d", number, round))
		answer := make([]byte, message)
		var e C.qioh_error
		result := C.qioh_channel_write_all(c.asks, unsafe.Pointer(&question[0]), message, &e)
		must("write", int64(result), &e)
		c.seen()
		runtime.Gosched()
		result = C.qioh_channel_read_all(c.asks, unsafe.Pointer(&answer[0]), message, &e)
		must("read", int64(result), &e)
		c.seen()
		if !bytes.Equal(answer, question) {
			die("asked %q, answered %q", question, answer)
		}
		failOnPurpose(number, round)
	}
}

func failOnPurpose(number, round int) {
	nowhere := fmt.Sprintf("/nowhere/%d/%d", number, round)
	uri := C.CString("unix:" + nowhere)
	defer C.free(unsafe.Pointer(uri))
	var e C.qioh_error
	if C.qioh_channel_open_uri(uri, nil, &e) != nil {
		die("opened %s", nowhere)
	}
	runtime.Gosched()
	said := C.GoString(&e.message[0])
	if e.code != C.QIOH_E_SYSTEM || !strings.Contains(said, nowhere+":") {
		die("an error about %s says %q", nowhere, said)
	}
}

// answer gives back what there is, without waiting.
func (c *channel) answer() {
	buffer := make([]byte, 4*message)
	var e C.qioh_error
	n := must("try_read", int64(C.qioh_channel_try_read(c.answers, unsafe.Pointer(&buffer[0]),
		C.size_t(len(buffer)), &e)), &e)
	c.seen()
	if n > 0 {
		result := C.qioh_channel_write_all(c.answers, unsafe.Pointer(&buffer[0]), C.size_t(n), &e)
		must("write", int64(result), &e)
	}
}

// pump takes turns with the others of its kind: whoever has the mutex fetches the next events.
func pump(loop *C.qioh_loop, turn *sync.Mutex, channels []*channel, done *atomic.Bool) {
	for {
		turn.Lock()
		if done.Load() {
			turn.Unlock()
			return
		}
		var e C.qioh_error
		var events [16]C.qioh_event
		events[0].struct_size = C.uint32_t(unsafe.Sizeof(events[0]))
		n := must("next_events", int64(C.qioh_loop_next_events(loop, &events[0], 16, -1, &e)), &e)
		for _, event := range events[:n] {
			if event.kind == C.QIOH_EV_WATCH {
				channels[event.cookie].answer()
			}
		}
		turn.Unlock()
		runtime.Gosched()
	}
}

func makeChannels(count int, loop *C.qioh_loop) []*channel {
	channels := make([]*channel, count)
	for i := range channels {
		var two [2]*C.qioh_channel
		var e C.qioh_error
		must("new_pair", int64(C.qioh_channel_new_pair(&two[0], &e)), &e)
		channels[i] = &channel{asks: two[0], answers: two[1], threads: map[int]bool{}}
		watch := C.qioh_watch_new_queued(loop, two[1], C.QIOH_IN, C.uint64_t(i), &e)
		if watch == nil {
			die("watch: %s", C.GoString(&e.message[0]))
		}
		C.qioh_watch_unref(watch) // the watch stays
	}
	return channels
}

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	rounds, _ := strconv.Atoi(os.Args[2])
	runtime.GOMAXPROCS(4)
	loop := C.qioh_loop_new(nil)
	channels := makeChannels(count, loop)

	var turn sync.Mutex
	var done atomic.Bool
	var asking, pumping sync.WaitGroup
	for i := 0; i < 3; i++ {
		pumping.Add(1)
		go func() {
			defer pumping.Done()
			pump(loop, &turn, channels, &done)
		}()
	}
	for i, c := range channels {
		asking.Add(1)
		go func(number int, c *channel) {
			defer asking.Done()
			c.ask(number, rounds)
		}(i, c)
	}
	asking.Wait()
	done.Store(true)
	var e C.qioh_error
	must("wakeup", int64(C.qioh_loop_wakeup(loop, &e)), &e) // the current or the next wait
	pumping.Wait()

	most := 0
	for _, c := range channels {
		if len(c.threads) > most {
			most = len(c.threads)
		}
		C.qioh_channel_unref(c.asks)
		C.qioh_channel_unref(c.answers)
	}
	C.qioh_loop_unref(loop)
	left := C.qioh_debug_live(C.QIOH_KIND_ANY)
	fmt.Printf("rounds: %d\nthreads: %d\nleft: %d\n", count*rounds, most, left)
}
