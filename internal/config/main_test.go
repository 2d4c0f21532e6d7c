package config_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/config"
)

const canary = "S3CR3T-CANARY-7"

// files is a file system of texts by path.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	if text, ok := f[path]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// load loads a warren.yaml with this text, and these variables.
func load(yaml string, environ ...string) (*config.Config, error) {
	return config.Load(config.Sources{ReadFile: files{"warren.yaml": yaml}.read, Environ: environ})
}

func mustLoad(t *testing.T, src config.Sources) *config.Config {
	t.Helper()
	c, err := config.Load(src)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// wantError checks that an error has these parts, and no secret.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error is\n%v\nwant it to contain %q", err, p)
		}
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows a secret: %v", err)
	}
}

// settings are the rows of a listing: "key=value (origin)".
func settings(c *config.Config) []string {
	var rows []string
	for _, s := range c.Settings() {
		rows = append(rows, s.Key+"="+s.Value+" ("+s.Origin+")")
	}
	return rows
}
