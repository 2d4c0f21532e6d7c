package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// promised are the ids that docs/features.md answers for: a letter, then from and to, as the ids are written.
func promised() map[string]bool {
	ids := map[string]bool{"D9b": true}
	for _, r := range []struct {
		format   string
		from, to int
	}{
		{"L%03d", 1, 14},
		{"L%03d", 20, 31},
		{"L%03d", 40, 48},
		{"L%03d", 50, 72},
		{"L%03d", 80, 95},
		{"L%03d", 100, 106},
		{"L%03d", 110, 129},
		{"L%03d", 140, 159},
		{"L%03d", 170, 192},
		{"L%03d", 200, 210},
		{"L%03d", 220, 231},
		{"L%03d", 240, 243},
		{"H%02d", 1, 24},
		{"I%02d", 1, 19},
		{"A%02d", 1, 48},
		{"D%d", 1, 11},
		{"T%02d", 1, 18},
		{"T%02d", 20, 36},
		{"T%02d", 40, 56},
		{"T%02d", 60, 77},
		{"P%02d", 1, 15},
		{"U%02d", 1, 18},
		{"U%02d", 20, 41},
		{"U%02d", 50, 61},
		{"U%02d", 70, 77},
		{"U%02d", 80, 108},
		{"U%d", 120, 124},
	} {
		for n := r.from; n <= r.to; n++ {
			ids[fmt.Sprintf(r.format, n)] = true
		}
	}
	return ids
}

// Every row of docs/features.md is there once and is shown by a test, by a command (internal/cli
// looks whether that exists), or says why not.
func TestFeaturesAreShown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	missing, folders := promised(), map[string]sources{}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		id := strings.TrimSpace(cells[0])
		if !strings.HasPrefix(line, "| ") || id == "id" {
			continue
		}
		switch {
		case len(cells) != 3:
			t.Errorf("%s has %d cells; a row has an id, what it is, and what shows it", id, len(cells))
			continue
		case seen[id]:
			t.Errorf("%s is there twice", id)
		case !missing[id]:
			t.Errorf("%s is none of the ids that the page is for", id)
		}
		seen[id] = true
		delete(missing, id)
		checkFeature(t, folders, id, strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]))
	}
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("%s is missing", id)
	}
}

// checkFeature looks at what is said of one id, and at the tests that are to show it.
func checkFeature(t *testing.T, folders map[string]sources, id, what, shown string) {
	t.Helper()
	found := namedTest().FindAllStringSubmatch(shown, -1)
	command := strings.Contains(shown, "`warren ") || strings.Contains(shown, "`consumer ") || strings.Contains(shown, "`producer ")
	reason := shown == "open" || strings.HasPrefix(what, "does not apply") || strings.HasPrefix(what, "later: ")
	if what == "" || len(found) == 0 && !command && !reason {
		t.Errorf("nothing shows %s, and no reason is given", id)
	}
	for _, f := range found {
		folder := filepath.Join("..", "..", filepath.FromSlash(f[1]))
		if _, read := folders[folder]; !read {
			folders[folder] = readSources(t, folder)
		}
		if !folders[folder].has(f[2], strings.TrimPrefix(f[3], "/")) {
			t.Errorf("%s names %s, which does not exist", id, f[0])
		}
	}
}
