package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/config"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "25s": 25 * time.Second, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond,
		"14d": 14 * 24 * time.Hour, "1.5d": 36 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0,
		"106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := config.ParseDuration(s); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	if got, err := config.ParseDuration(" 5m "); err != nil || got != 5*time.Minute {
		t.Errorf("spaces around: %v, %v", got, err)
	}
	for s, want := range map[string]string{
		"": "not a duration", "30": `"30" is not a duration; write one such as 500ms, 30s, 1h30m or 14d`, "soon": "not a duration",
		"-5s": "is negative", "-1d": "is negative", "d": "not a duration", "1d-5s": "not a duration", "1d+5s": "not a duration", "+5s": "not a duration",
		"1h1d": "not a duration", "1 d": "not a duration", "106752d": "longer than 292 years", "106751d24h": "longer than 292 years",
		"1e9d": "not a duration", "99999999999999999999999d": "longer than 292 years",
	} {
		if got, err := config.ParseDuration(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDuration(%q) = %v, %v; want an error with %q", s, got, err, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "25s": 25 * time.Second, "1h30m": 90 * time.Minute, "1h": time.Hour, "10m": 10 * time.Minute, "14d": 14 * 24 * time.Hour,
		"1d12h": 36 * time.Hour, "1d500ms": 24*time.Hour + 500*time.Millisecond, "1h0m5s": time.Hour + 5*time.Second, "90d": 90 * 24 * time.Hour,
	} {
		if got := config.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{
		"0": 0, "262144": 262144, "256KiB": 262144, "256Ki": 262144, "200k": 200_000, "1.5M": 1_500_000, "1MB": 1_000_000, "1MiB": 1 << 20,
		"2G": 2_000_000_000, "2GiB": 2 << 30, "10B": 10, "64 KiB": 65536,
	} {
		if got, err := config.ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"": "not a size", "k": "not a size", "-1": "not a size", "1kk": "not a size", "1e3": "not a size", "256kib": "not a size", "1T": "not a size",
		"99999999999G": "too large", "much": `"much" is not a size; write one such as 262144, 256KiB, 1MiB or 2G`,
	} {
		if got, err := config.ParseSize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSize(%q) = %v, %v; want an error with %q", s, got, err, want)
		}
	}
}

func TestFormatSize(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]int64{"0": 0, "1000": 1000, "256KiB": 256 << 10, "1MiB": 1 << 20, "3GiB": 3 << 30, "1025KiB": 1025 << 10} {
		if got := config.FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

// What is written can be read back, and is the same.
func FuzzQuantities(f *testing.F) {
	f.Add("1d12h", int64(262144))
	f.Add("-5s", int64(1))
	f.Add("106751d23h47m16s854ms", int64(0))
	f.Fuzz(func(t *testing.T, s string, n int64) {
		if d, err := config.ParseDuration(s); err == nil {
			if again, err := config.ParseDuration(config.FormatDuration(d)); d < 0 || err != nil || again != d {
				t.Errorf("%q is %v, written %q, which is %v (%v)", s, d, config.FormatDuration(d), again, err)
			}
		}
		if _, err := config.ParseSize(s); err == nil && strings.TrimSpace(s) == "" {
			t.Errorf("nothing is a size")
		}
		if n &= 1<<50 - 1; true {
			if again, err := config.ParseSize(config.FormatSize(n)); err != nil || again != n {
				t.Errorf("%d is written %q, which is %v (%v)", n, config.FormatSize(n), again, err)
			}
		}
	})
}
