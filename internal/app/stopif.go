package app

import (
	"fmt"
	"regexp"
	"strconv"
)

// StopIf is when a change stops by itself: when more jobs failed again than so many, or than so many
// of a hundred.
type StopIf struct {
	limit   int
	percent bool
	set     bool
}

var stopIfPattern = regexp.MustCompile(`^\s*failed\s*>\s*(\d{1,9})\s*(%?)\s*$`)

// ParseStopIf reads failed>10% or failed>50.
func ParseStopIf(s string) (StopIf, error) {
	m := stopIfPattern.FindStringSubmatch(s)
	if m == nil {
		return StopIf{}, fmt.Errorf("%.60q is no condition; write failed>10%% for a share, or failed>50 for a number of jobs", s)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return StopIf{}, fmt.Errorf("%.60q: %w", s, err)
	}
	if m[2] == "%" && n > 99 {
		return StopIf{}, fmt.Errorf("%.60q never comes true: more than %d%% cannot fail", s, n)
	}
	return StopIf{limit: n, percent: m[2] == "%", set: true}, nil
}

// String is what ParseStopIf reads.
func (s StopIf) String() string {
	if s.percent {
		return fmt.Sprintf("failed>%d%%", s.limit)
	}
	return fmt.Sprintf("failed>%d", s.limit)
}

func (s StopIf) given() bool { return s.set }

func (s StopIf) exceeded(failed, of int) bool {
	switch {
	case !s.set:
		return false
	case s.percent:
		return failed*100 > s.limit*of
	}
	return failed > s.limit
}
