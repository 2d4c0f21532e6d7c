package main

import (
	"math"
	"slices"
)

// median is the middle of the values, or the mean of the two in the middle; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// quantile is the smallest value that at least the part q of all values does not exceed; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

// medianRatio is the median over the rounds of how many times better ours was than theirs in the same round. It is
// not the ratio of the medians: those may come from different rounds, between which the machine has drifted.
func medianRatio(ours, theirs []float64, lowerIsBetter bool) float64 {
	return median(ratios(ours, theirs, lowerIsBetter))
}

// ratios are how many times better ours was than theirs, round by round.
func ratios(ours, theirs []float64, lowerIsBetter bool) (out []float64) {
	rounds := min(len(ours), len(theirs))
	theirs = theirs[:rounds]
	for i, better := range ours[:rounds] {
		worse := theirs[i]
		if lowerIsBetter {
			better, worse = worse, better
		}
		if worse > 0 {
			out = append(out, better/worse)
		}
	}
	return out
}
