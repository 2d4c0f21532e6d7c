package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxPriority is the highest priority number, which runs last.
const maxPriority = 999

// ParseRange returns those of the configured priorities that s selects, ascending and each once.
// s is a list, separated by commas, of
//
//	10      this priority
//	20-40   from 20 to 40, both included
//	25-     25 and above
//	-20     20 and below
//
// Spaces around items and numbers are allowed. Every item must meet a configured priority: one
// that meets none is a mistake that would otherwise show as a consumer that idles. The error
// names the item and the configured priorities.
func ParseRange(s string, configured []int) ([]int, error) {
	sorted := slices.Sorted(slices.Values(configured))
	var selected []int
	for item := range strings.SplitSeq(s, ",") {
		low, high, err := parseItem(item)
		if err != nil {
			return nil, fmt.Errorf("range %q: %w; the configured priorities are %s", strings.TrimSpace(item), err, listInts(sorted))
		}
		met := false
		for _, p := range sorted {
			if low <= p && p <= high {
				selected, met = append(selected, p), true
			}
		}
		if !met {
			return nil, fmt.Errorf("range %q meets no configured priority (%s)", strings.TrimSpace(item), listInts(sorted))
		}
	}
	slices.Sort(selected)
	return slices.Compact(selected), nil
}

// parseItem returns the first and the last priority of one item.
func parseItem(item string) (low, high int, err error) {
	from, to, isRange := strings.Cut(item, "-")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	switch {
	case from == "" && to == "":
		return 0, 0, errors.New("it is empty; write 10, 20-40, 25- or -20")
	case !isRange:
		low, err = parsePriority(from)
		return low, low, err
	}
	low, high = 0, maxPriority
	if from != "" {
		if low, err = parsePriority(from); err != nil {
			return 0, 0, err
		}
	}
	if to != "" {
		if high, err = parsePriority(to); err != nil {
			return 0, 0, err
		}
	}
	if low > high {
		return 0, 0, fmt.Errorf("it ends before it begins; write %d-%d", high, low)
	}
	return low, high, nil
}

// parsePriority takes digits only: no sign, no exponent, no other script's digits.
func parsePriority(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxPriority || strings.TrimLeft(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a priority from 0 to %d", s, maxPriority)
	}
	return n, nil
}

// listInts is "10, 20, 30".
func listInts(numbers []int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ", ")
}
