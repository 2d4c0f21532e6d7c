//go:build !linux

package warren

import "runtime"

// residentBytes is what the Go runtime has taken from the system: close to the resident set where
// that is not to be had without a library.
func residentBytes() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}
