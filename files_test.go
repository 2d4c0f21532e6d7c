package warren_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
	"github.com/warrenq/warren/warrentest"
)

func TestAttach(t *testing.T) {
	t.Parallel()
	got := warrentest.PerformFunc(t, func(ctx context.Context, _ *warren.Job[mail]) error {
		for _, f := range []struct{ name, media, content, want string }{
			{"report.csv", "", "first", ""},
			{"report.csv", "text/csv; charset=utf-8", "a,b\n", ""},
			{"ünï", "", "", ""},
			{"", "", "", "is no name of a file"},
			{"..", "", "", "is no name of a file"},
			{"a/b", "", "", "is not plain"},
			{"a\nb", "", "", "is not plain"},
			{strings.Repeat("x", 256), "", "", "has 256 bytes; at most 255 are allowed"},
			{"x", "text", "", `"text" is no media type`},
			{"x", "text/csv\r\nX: y", "", `is no media type`},
			{"x", "", strings.Repeat("x", 16<<20+1), "more than the 16777216 bytes that a file may have"},
		} {
			err := warren.Attach(ctx, f.name, f.media, strings.NewReader(f.content))
			if err == nil && f.want != "" || err != nil && (f.want == "" || !strings.Contains(err.Error(), f.want)) {
				return warren.Permanent(errors.Join(errors.New(f.name+": want "+f.want), err))
			}
		}
		return nil
	}, mail{})
	got.RequireFinished(t)
	if len(got.Files) != 2 || string(got.Files["report.csv"]) != "a,b\n" || len(got.Files["ünï"]) != 0 {
		t.Errorf("files: %q", got.Files)
	}
	if err := warren.Attach(t.Context(), "x", "", strings.NewReader("")); err == nil {
		t.Error("outside of a job there is nobody to attach to")
	}
}

// What an attempt that was broken off has left, what was replaced and what belonged to jobs that are gone is swept, in
// a directory, too.
func TestFilesAreSwept(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), sqlite.Memory, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var r warren.Registry
	warren.RegisterFunc(&r, func(ctx context.Context, job *warren.Job[mail]) error {
		broken := io.MultiReader(strings.NewReader("half"), errReader{})
		if err := warren.Attach(ctx, "broken", "", broken); !errors.Is(err, errBroken) {
			return warren.Permanent(err)
		}
		return errors.Join(warren.Attach(ctx, "to", "", strings.NewReader("old")), warren.Attach(ctx, "to", "", strings.NewReader(job.Args.To)))
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &r})
	if err != nil {
		t.Fatal(err)
	}
	consume := func(keep jobstore.Retention) {
		t.Helper()
		c, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Registry: &r, Files: warren.FileDir(dir), UntilEmpty: true, Retention: keep})
		if err == nil {
			err = c.Run(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	published, err := client.Publish(t.Context(), mail{To: "ünï"})
	if err != nil {
		t.Fatal(err)
	}
	consume(jobstore.Retention{})
	consume(jobstore.Retention{}) // its first sweep comes when the job has ended
	files, err := store.Files(t.Context(), published.ID)
	if err != nil || len(files) != 1 || files[0].Type != "application/octet-stream" {
		t.Fatalf("files: %+v, %v", files, err)
	}
	content, err := warren.FileDir(dir).OpenFile(t.Context(), files[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil || string(text) != "ünï" {
		t.Errorf("content %q, %v", text, err)
	}
	if left := filesIn(t, dir); len(left) != 1 {
		t.Errorf("in the directory are %q", left)
	}
	consume(jobstore.Retention{jobstore.Finished: 0})
	consume(jobstore.Retention{jobstore.Finished: 0})
	if left := filesIn(t, dir); len(left) != 0 {
		t.Errorf("when the job is gone there are %q", left)
	}
	if _, err := warren.FileDir(dir).OpenFile(t.Context(), files[0].ID); !errors.Is(err, jobstore.ErrNotFound) {
		t.Errorf("opened: %v", err)
	}
}

var errBroken = errors.New("the line is dead")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func ExampleAttach() {
	store := exampleStore()
	defer store.Close()
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(ctx context.Context, job *warren.Job[Import]) error {
		var report bytes.Buffer
		for _, row := range job.Args.Rows {
			report.WriteString(row + ",stored\n")
		}
		return warren.Attach(ctx, "report.csv", "text/csv", &report)
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	p, err := client.Publish(context.Background(), Import{Rows: []string{"a", "b"}})
	if err != nil {
		panic(err)
	}
	exampleRun(store, &registry)
	files, err := store.Files(context.Background(), p.ID)
	if err != nil {
		panic(err)
	}
	content, err := store.OpenFile(context.Background(), files[0].ID)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(os.Stdout, content)
	// Output:
	// a,stored
	// b,stored
}
