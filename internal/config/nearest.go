package config

// nearest returns the one of the candidates that takes the fewest edits to get from s to it, the
// first of several.
func nearest(s string, candidates []string) string {
	best, fewest := "", -1
	for _, c := range candidates {
		if d := edits(s, c); fewest < 0 || d < fewest {
			best, fewest = c, d
		}
	}
	return best
}

// edits is the number of letters to insert, delete, replace, or swap with their neighbour.
func edits(a, b string) int {
	// A key is short; what is longer is nonsense, and not worth quadratic time.
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	older, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], older[j-2]+1)
			}
		}
		older, previous, current = previous, current, older
	}
	return previous[len(b)]
}
