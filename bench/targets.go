package main

// target is how many times better than River a figure of Warren is to be.
type target struct{ full, pg float64 }

// The modes of Warren.
const (
	modeFull = "full" // PostgreSQL and RabbitMQ
	modePG   = "pg"   // PostgreSQL only
)

// targets are what Warren is to reach, by the name of the figure. They stand a little below what a prototype without
// retries, heartbeats and sweep has reached; for idle and latency the bar is to be no worse than River.
func targets() map[string]target {
	return map[string]target{
		"insert1":     {full: 1.5, pg: 1.5},
		"insert16":    {full: 2.5, pg: 4},
		"insert64":    {full: 4, pg: 8},
		"bulk":        {full: 1.5, pg: 2},
		"bulk_fast":   {full: 1, pg: 1.5},
		"work":        {full: 2, pg: 2},
		"e2e_bulk":    {full: 1.8, pg: 2},
		"e2e_singles": {full: 2.4, pg: 4},
		"history":     {full: 2, pg: 2},
		"idle":        {full: 1, pg: 1},
		"latency":     {full: 1, pg: 1},
		"latency_p99": {full: 1, pg: 1},
	}
}

// targetOf is the target of a figure in a mode; false when it has none.
func targetOf(figure, mode string) (float64, bool) {
	t, ok := targets()[figure]
	if mode == modePG {
		return t.pg, ok
	}
	return t.full, ok
}

// verdict is what the page says of a figure: met, missed or nothing. Only River is a peer that targets are about.
func verdict(l line) string {
	want, ok := targetOf(l.Test, l.Mode)
	switch {
	case !ok || l.Peer != river:
		return ""
	case l.Ratio >= want: // false for NaN, too
		return "met"
	}
	return "missed"
}
