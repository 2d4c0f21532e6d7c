package main

import (
	"fmt"
	"math"
	"strings"
)

// line is one figure of Warren in one mode beside one peer's. In a JSON line of a quick run these are all its keys.
type line struct {
	Test string `json:"test"`
	Mode string `json:"mode"` // full or pg
	// Rate is in the test's unit: jobs a second, milliseconds for latency, statements a second when idle.
	Rate     float64 `json:"rate"`
	Peer     string  `json:"peer"`
	PeerRate float64 `json:"peer_rate"`
	// Ratio is how many times better than the peer, whichever way better is: above 1 is in Warren's favour.
	Ratio float64 `json:"ratio"`
	// CPU is microseconds a job, of this process and the servers; of a second when idle.
	CPU float64 `json:"cpu_us"`
}

// detail is a line of a full report.
type detail struct {
	line

	What        string  `json:"what"`
	Unit        string  `json:"unit"`
	PeerCPU     float64 `json:"peer_cpu_us"`
	PeerSetting string  `json:"peer_setting"`
	Low         float64 `json:"ratio_low"` // the least and the largest ratio of a round
	High        float64 `json:"ratio_high"`
	Rounds      int     `json:"rounds"`
}

// lines compares Warren with each peer, round by round.
func lines(t test, playing []contender, best []setting, samples [][]sample) (out []detail) {
	for i, c := range playing {
		w, ok := c.(*ours)
		if !ok || w.alone {
			continue
		}
		if t.most > 0 {
			out = append(out, beside(t, w.mode, samples[i])...)
		}
		for k, peer := range playing {
			if own, ok := peer.(*ours); ok {
				if own.alone && own.mode == w.mode {
					out = append(out, crowded(t, w.mode, samples[i], samples[k]))
				}
				continue
			}
			for v, figure := range t.figures {
				mine, its := column(samples[i], v), column(samples[k], v)
				all := ratios(mine, its, t.lower)
				out = append(out, detail{
					line: line{
						Test: figure, Mode: w.mode, Rate: rounded(median(mine)), Peer: peer.name(), PeerRate: rounded(median(its)),
						Ratio: rounded(medianRatio(mine, its, t.lower)), CPU: rounded(median(cpus(samples[i]))),
					},
					What: t.what, Unit: t.unit, PeerCPU: rounded(median(cpus(samples[k]))), PeerSetting: best[k].String(), Rounds: len(mine),
					Low: rounded(quantile(all, 0)), High: rounded(quantile(all, 1)),
				})
			}
		}
	}
	return out
}

// beside compares each figure of Warren's with what it may be at most.
func beside(t test, mode string, own []sample) (out []detail) {
	for v, figure := range t.figures {
		got := median(column(own, v))
		out = append(out, detail{
			line: line{Test: figure, Mode: mode, Rate: rounded(got), Peer: limit, PeerRate: t.most, Ratio: rounded(t.most / got), CPU: rounded(median(cpus(own)))},
			What: t.what, Unit: t.unit, Rounds: len(own),
		})
	}
	return out
}

// crowded compares Warren's rate beside many other jobs with that of the same work without them, round by round.
func crowded(t test, mode string, among, alone []sample) detail {
	all := ratios(column(alone, 0), column(among, 0), false)
	return detail{
		line: line{
			Test: t.name + "_own", Mode: mode, Rate: rounded(median(all)), Peer: limit, PeerRate: rounded(1 / 0.9), Ratio: rounded(1 / 0.9 / median(all)),
			CPU: rounded(median(cpus(among))),
		},
		What: "the rate of the same work on tables without them, in the same round, over that of " + t.name, Unit: "times", Rounds: len(all),
		Low: rounded(quantile(all, 0)), High: rounded(quantile(all, 1)),
	}
}

func column(samples []sample, v int) (out []float64) {
	for _, s := range samples {
		out = append(out, s.values[v])
	}
	return out
}

func cpus(samples []sample) (out []float64) {
	for _, s := range samples {
		out = append(out, s.cpu)
	}
	return out
}

// rounded has three digits that mean something: the rest is noise. What is no number becomes 0, which JSON can say.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-2)
	if unit < 1 {
		return math.Round(v/unit) / math.Round(1/unit) // a division by a whole number leaves no tail of digits
	}
	return math.Round(v/unit) * unit
}

// text is the line for a person.
func (d detail) text() string {
	s := fmt.Sprintf("%-12s %-4s %9s %-12s  %s %9s  ratio %-5s  CPU %s µs (%s)", d.Test, d.Mode, number(d.Rate), d.Unit, d.Peer,
		number(d.PeerRate), number(d.Ratio), number(d.CPU), number(d.PeerCPU))
	if d.Peer == limit {
		return fmt.Sprintf("%-12s %-4s %9s %-12s  at most %s %s", d.Test, d.Mode, number(d.Rate), d.Unit, number(d.PeerRate), verdict(d.line))
	}
	if want, ok := targetOf(d.Test, d.Mode); ok && d.Peer == river {
		s += fmt.Sprintf("  target %s %s", number(want), verdict(d.line))
	}
	return s
}

// number is a figure as people write it: 54,300 and 0.82.
func number(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, r := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}
