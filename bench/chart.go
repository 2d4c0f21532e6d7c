package main

import (
	"fmt"
	"math"
	"strings"
)

// Sizes of the chart, in pixels.
const (
	chartLeft  = 140
	chartWidth = 720
	barHeight  = 14
	rowHeight  = 2*barHeight + 12
)

// chart shows ratios to River as bars, on a logarithmic scale: twice as good and half as good are as far from 1.
func (r *report) chart() string {
	var figures []string
	ratio := map[string]map[string]float64{}
	widest := 2.0
	for _, d := range r.of(river) {
		if ratio[d.Test] == nil {
			ratio[d.Test] = map[string]float64{}
			figures = append(figures, d.Test)
		}
		ratio[d.Test][d.Mode] = d.Ratio
		if d.Ratio > 0 {
			widest = max(widest, d.Ratio, 1/d.Ratio)
		}
	}
	span := float64(chartWidth-chartLeft) / 2 * 0.85
	middle := chartLeft + (chartWidth-chartLeft)/2
	at := func(v float64) float64 { return float64(middle) + span*math.Log(v)/math.Log(widest) }
	height := len(figures)*rowHeight + 50
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="18">times as good as River (right of the line: Warren leads)</text>`+"\n", chartLeft)
	for i, figure := range figures {
		y := 34 + i*rowHeight
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", chartLeft-8, y+barHeight+4, figure)
		for k, mode := range []struct{ name, colour string }{{modeFull, "#2b6cb0"}, {modePG, "#90cdf4"}} {
			v, ok := ratio[figure][mode.name]
			if !ok || v <= 0 {
				continue
			}
			x := at(v)
			top := y + k*barHeight
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", min(x, at(1)), top, math.Abs(x-at(1)), barHeight-1, mode.colour)
			anchor, shift := "start", 4.0
			if v < 1 {
				anchor, shift = "end", -4.0
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" font-size="10" text-anchor="%s">%s %s</text>`+"\n", x+shift, top+barHeight-3, anchor, number(v), mode.name)
		}
	}
	fmt.Fprintf(&b, `<line x1="%d" y1="28" x2="%d" y2="%d" stroke="black"/>`+"\n</svg>\n", middle, middle, height-10)
	return b.String()
}
