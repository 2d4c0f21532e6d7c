package main

// target is how many times better than River a figure of Warren is to be.
type target struct{ full, pg float64 }

// The modes of Warren.
const (
	modeFull = "full" // PostgreSQL and RabbitMQ
	modePG   = "pg"   // PostgreSQL only
)

// targets are what Warren is to reach beside River, by the name of the figure.
func targets() map[string]target {
	return map[string]target{
		"insert1":     {full: 2, pg: 2.2},
		"insert16":    {full: 5, pg: 5},
		"insert64":    {full: 8, pg: 10},
		"bulk":        {full: 1.8, pg: 2.4},
		"bulk_fast":   {full: 1.2, pg: 1.7},
		"work":        {full: 2.2, pg: 2.5},
		"e2e_bulk":    {full: 2, pg: 2.6},
		"e2e_singles": {full: 5, pg: 6},
		"history":     {full: 2, pg: 2},
		"pending":     {full: 2, pg: 2},
		"idle":        {full: 3, pg: 2},
		"latency_p99": {full: 1, pg: 1.25},
		// What River's own defaults come to.
		"latency_default_p99": {full: 15, pg: 15},
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
	case l.Peer == limit && l.PeerRate >= l.Rate:
		return "met"
	case l.Peer == limit:
		return "missed"
	case !ok || l.Peer != river:
		return ""
	case l.Ratio >= want: // false for NaN, too
		return "met"
	}
	return "missed"
}
