package e2e

import (
	"bytes"
	"sync"
)

// lockedBuffer gathers what a program says while others read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail is the end of what was said.
func (b *lockedBuffer) tail(n int) string {
	s := b.String()
	return s[max(len(s)-n, 0):]
}
