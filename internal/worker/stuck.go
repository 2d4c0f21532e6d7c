package worker

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

// StuckError is what becomes of an attempt whose handler did not return after its context had ended.
type StuckError struct {
	Grace time.Duration
	// Stack is where its goroutine was then; empty when that could not be found.
	Stack []byte
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("the handler did not return within %s after its context ended", e.Grace)
}

// goroutineID is the number by which a dump names the goroutine that calls it; 0 when it cannot be read.
func goroutineID() int64 {
	var buf [64]byte
	text, ok := bytes.CutPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if !ok {
		return 0
	}
	number, _, _ := bytes.Cut(text, []byte(" "))
	id, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// maxDump is how much of all stacks is looked through. The world stands still while they are written.
const maxDump = 16 << 20

// stackOf is the stack of a goroutine. It stops all others for a moment, so that it is for what should not
// happen.
func stackOf(id int64) []byte {
	if id == 0 {
		return nil
	}
	for size := 256 << 10; size <= maxDump; size *= 4 {
		dump := make([]byte, size)
		n := runtime.Stack(dump, true)
		for one := range bytes.SplitSeq(dump[:n], []byte("\n\n")) {
			if bytes.HasPrefix(one, fmt.Appendf(nil, "goroutine %d [", id)) {
				return bytes.Clone(one)
			}
		}
		if n < size {
			break
		}
	}
	return nil
}
