package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/config"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	configured := []int{30, 0, 10, 999, 20}
	for s, want := range map[string][]int{
		"10":               {10},
		"010":              {10},
		"0":                {0},
		"999":              {999},
		"10-20":            {10, 20},
		"10-10":            {10},
		"5-25":             {10, 20},
		"20-":              {20, 30, 999},
		"-20":              {0, 10, 20},
		"0-999":            {0, 10, 20, 30, 999},
		"30,10":            {10, 30},
		"10-20,20-30,10":   {10, 20, 30},
		"10 ,	20 - 30, -0": {0, 10, 20, 30},
	} {
		got, err := config.ParseRange(s, configured)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseRange(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}

func TestParseRangeRefuses(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"7":                    `range "7" meets no configured priority (10, 20, 30)`,
		"11-19":                `range "11-19" meets no configured priority (10, 20, 30)`,
		"31-":                  `range "31-" meets no configured priority (10, 20, 30)`,
		"-9":                   `range "-9" meets no configured priority (10, 20, 30)`,
		"10,7":                 `range "7" meets no configured priority (10, 20, 30)`,
		"10abc":                `range "10abc": "10abc" is not a priority from 0 to 999; the configured priorities are 10, 20, 30`,
		"abc":                  `"abc" is not a priority`,
		"40-20":                `range "40-20": it ends before it begins; write 20-40`,
		"":                     `range "": it is empty; write 10, 20-40, 25- or -20`,
		"-":                    `range "-": it is empty`,
		"10,,20":               `range "": it is empty`,
		"10,":                  `range "": it is empty`,
		"1000":                 `"1000" is not a priority from 0 to 999`,
		"10-1000":              `"1000" is not a priority`,
		"--10":                 `"-10" is not a priority`,
		"10--20":               `"-20" is not a priority`,
		"10-20-30":             `"20-30" is not a priority`,
		"+10":                  `"+10" is not a priority`,
		"1e1":                  `"1e1" is not a priority`,
		"0x0a":                 `"0x0a" is not a priority`,
		"1 0":                  `"1 0" is not a priority`,
		"١٠":                   `is not a priority`,
		"10;20":                `"10;20" is not a priority`,
		"99999999999999999999": `is not a priority`,
	} {
		got, err := config.ParseRange(s, []int{30, 10, 20})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "10, 20, 30") {
			t.Errorf("ParseRange(%q) = %v, %v; want the error %q and the configured priorities", s, got, err, want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"10", "20-40", "25-", "-20", "10,20-30", "10abc", "40-20", " 10 ", "-", ",", "1000", "+1", "٣"} {
		f.Add(s)
	}
	configured := []int{50, 10, 20, 999, 0}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := config.ParseRange(s, configured)
		if err != nil {
			if !strings.Contains(err.Error(), "0, 10, 20, 50, 999") {
				t.Errorf("the error does not name the configured priorities: %v", err)
			}
			return
		}
		if len(got) == 0 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("ParseRange(%q) = %v, want some, ascending, each once", s, got)
		}
		for _, p := range got {
			if !slices.Contains(configured, p) {
				t.Errorf("ParseRange(%q) has %d, which is not configured", s, p)
			}
		}
		if strings.Trim(s, "0123456789-, \t\n\v\f\r\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000") != "" {
			t.Errorf("ParseRange accepted %q", s)
		}
	})
}
