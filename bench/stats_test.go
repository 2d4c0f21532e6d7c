package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1, 1000}, 1},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestMedianLeavesItsInputInOrder(t *testing.T) {
	t.Parallel()
	values := []float64{3, 1, 2} // rounds: sorted, they would be paired with another round's
	median(values)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("the values were moved: %v", values)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var hundred []float64
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, float64(i))
	}
	for q, want := range map[float64]float64{0: 1, 0.01: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile(1…100, %v) = %v, want %v", q, got, want)
		}
	}
	if got := quantile([]float64{4}, 0.99); got != 4 {
		t.Errorf("quantile of one value = %v", got)
	}
}

// The machine drifts from round to round, so that figures are compared within a round, and not medians of all.
func TestMedianRatioIsOfTheSameRound(t *testing.T) {
	t.Parallel()
	ours := []float64{900, 90, 400}
	theirs := []float64{300, 90, 100} // ratios 3, 1, 4: median 3. The ratio of medians would be 4.
	if got := medianRatio(ours, theirs, false); got != 3 {
		t.Errorf("ratio %v, want 3", got)
	}
	if got := medianRatio(ours, theirs, true); got != 1.0/3 {
		t.Errorf("ratio when lower is better %v, want 1/3", got)
	}
	if got := medianRatio([]float64{5}, []float64{0}, false); !math.IsNaN(got) {
		t.Errorf("ratio to nothing %v", got)
	}
}

func TestRoundedKeepsThreeDigits(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]float64{54321: 54300, 0.81234: 0.812, 12.345: 12.3, 999.6: 1000, 0: 0, math.NaN(): 0} {
		if got := rounded(in); got != want && !math.IsNaN(in) {
			t.Errorf("rounded(%v) = %v, want %v", in, got, want)
		}
	}
	if got := rounded(math.Inf(1)); got != 0 {
		t.Errorf("JSON has no %v", got)
	}
}
