package main

import (
	"os"
	"testing"
)

func TestGrowth(t *testing.T) {
	t.Parallel()
	var p peak
	p.add(os.Getpid())
	p.add(1 << 30) // nobody
	if p.MiB < 1 || p.Descriptors < 3 {
		t.Errorf("this process holds %+v", p)
	}
	for _, c := range []struct {
		g    growth
		want bool
	}{
		{growth{peak{40, 30}, peak{70, 60}}, false},
		{growth{peak{40, 30}, peak{113, 30}}, true},
		{growth{peak{40, 30}, peak{40, 93}}, true},
	} {
		if got := c.g.leaks(); got != c.want {
			t.Errorf("%s: leaks %t", &c.g, got)
		}
	}
}
