//go:build !linux

package testenv

// releaseSharedMemory does nothing where segments are found in another way.
func releaseSharedMemory(string) {}
