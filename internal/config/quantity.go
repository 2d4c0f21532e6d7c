package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warrenq/warren"
)

const day = 24 * time.Hour

// ParseDuration reads a duration as everywhere else: warren.ParseDuration.
func ParseDuration(s string) (time.Duration, error) { return warren.ParseDuration(s) }

// FormatDuration writes d as ParseDuration reads it, as short as it goes: 14d, 1h30m, 25s.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	whole := ""
	if d >= day {
		whole = strconv.FormatInt(int64(d/day), 10) + "d"
		if d %= day; d == 0 {
			return whole
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return whole + s
}

// units are the factors of ParseSize: k, M and G count in thousands, Ki, Mi and Gi in 1024s, as
// in Kubernetes.
func units(unit string) (float64, bool) {
	switch strings.TrimSuffix(unit, "B") {
	case "":
		return 1, true
	case "k", "K":
		return 1e3, true
	case "M":
		return 1e6, true
	case "G":
		return 1e9, true
	case "Ki":
		return 1 << 10, true
	case "Mi":
		return 1 << 20, true
	case "Gi":
		return 1 << 30, true
	}
	return 0, false
}

var sizes = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$`)

// ParseSize reads a number of bytes: 262144, 256KiB, 1MiB, 2GiB, or in thousands 200k, 1.5M, 1G.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("%q is not a size; write one such as 262144, 256KiB, 1MiB or 2G", s)
	m := sizes.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, bad
	}
	factor, ok := units(m[2])
	if !ok {
		return 0, bad
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil || n*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large to count in bytes", s)
	}
	return int64(n * factor), nil
}

// FormatSize writes n as ParseSize reads it, in the largest unit that divides it.
func FormatSize(n int64) string {
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		factor, _ := units(unit)
		if n > 0 && n%int64(factor) == 0 {
			return strconv.FormatInt(n/int64(factor), 10) + unit
		}
	}
	return strconv.FormatInt(n, 10)
}

// pollInterval reads how often to look.
func pollInterval(s string) (time.Duration, error) {
	d, err := ParseDuration(s)
	if err == nil && (d < 50*time.Millisecond || d > 30*time.Second) {
		err = fmt.Errorf("%q is not from 50ms to 30s", s)
	}
	return d, err
}

// parseInt reads a whole number within bounds.
func parseInt(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q is not a whole number from %d to %d", s, low, high)
	}
	return n, nil
}

// oneOf accepts the values it lists.
func oneOf(s string, allowed ...string) (string, error) {
	if slices.Contains(allowed, s) {
		return s, nil
	}
	return "", fmt.Errorf("%q is none of %s", s, strings.Join(allowed, ", "))
}

// matching accepts what a pattern describes.
func matching(s string, pattern *regexp.Regexp, allowed string) (string, error) {
	if !pattern.MatchString(s) {
		return "", errors.New(strconv.Quote(s) + " is not allowed; use " + allowed)
	}
	return s, nil
}
