package live

import "time"

// window is over how many seconds a rate is taken.
const window = 5

// meter counts, and knows the rate of the last whole seconds.
type meter struct {
	total   int
	seconds [window + 1]int64 // which second each count is of
	counts  [window + 1]int
}

func (m *meter) add(now time.Time) {
	m.total++
	second := now.Unix()
	i := second % (window + 1)
	if m.seconds[i] != second {
		m.seconds[i], m.counts[i] = second, 0
	}
	m.counts[i]++
}

// rate is how many a second were counted in the last whole seconds.
func (m *meter) rate(now time.Time) float64 {
	sum := 0
	for i, second := range m.seconds {
		if age := now.Unix() - second; age >= 1 && age <= window {
			sum += m.counts[i]
		}
	}
	return float64(sum) / window
}
