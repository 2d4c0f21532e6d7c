package e2e

import "os"

// longRun makes tests use the full durations of the promises instead of scaled ones:
// WARREN_TEST_LONG=1 go test ./test/e2e
func longRun() bool { return os.Getenv("WARREN_TEST_LONG") != "" }
