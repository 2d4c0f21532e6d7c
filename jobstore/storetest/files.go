package storetest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing/iotest"

	"github.com/warrenq/warren/jobstore"
)

func fileTests() []test {
	return []test{
		{"files are listed when they are whole, and replaced by name", filesListed},
		{"files have the fence of an outcome", filesFenced},
		{"content comes back as it was, whatever its size", fileContent},
		{"files that belong to nobody are found", filesLost},
	}
}

// begun begins a file.
func (w *world) begun(by jobstore.Claimant, l jobstore.Lease, name string) jobstore.FileID {
	w.Helper()
	id, err := w.store.BeginFile(w.Context(), by.Holder, l.Job.LeaseNo, jobstore.File{Job: l.Job.ID, Name: name, Type: "text/plain"}, 3)
	w.check("begin a file", err)
	return id
}

// attach begins and ends a file.
func (w *world) attach(by jobstore.Claimant, l jobstore.Lease, name, content string) jobstore.FileID {
	w.Helper()
	id := w.begun(by, l, name)
	n, err := w.store.WriteFile(w.Context(), id, strings.NewReader(content))
	w.check("write a file", err)
	w.check("end a file", w.store.EndFile(w.Context(), by.Holder, id, n))
	return id
}

func (w *world) wantFiles(job jobstore.ID, want ...string) {
	w.Helper()
	files, err := w.store.Files(w.Context(), job)
	w.check("files", err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		if f.Job != job || f.Type != "text/plain" || f.At.IsZero() {
			w.Fatalf("a file is %+v", f)
		}
	}
	if !slices.Equal(names, want) {
		w.Fatalf("job %d has %q, want %q", job, names, want)
	}
}

func (w *world) wantLost(want ...jobstore.FileID) {
	w.Helper()
	got, err := w.store.LostFiles(w.Context(), 100)
	w.check("lost files", err)
	if !slices.Equal(sorted(got), want) {
		w.Fatalf("lost are %v, want %v", got, want)
	}
}

func (w *world) content(id jobstore.FileID) string {
	w.Helper()
	r, err := w.store.OpenFile(w.Context(), id)
	w.check("open a file", err)
	text, err := io.ReadAll(r)
	w.check("read a file", errors.Join(err, r.Close()))
	return string(text)
}

func filesListed(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	l := w.claimOne(by, id)
	b := w.begun(by, l, "ünï")
	w.wantFiles(id)
	w.wantLost() // it is being written
	w.check("end", w.store.EndFile(w.Context(), by.Holder, b, 0))
	old := w.attach(by, l, "a.txt", "old")
	w.attach(by, l, "b.txt", "")
	w.wantFiles(id, "a.txt", "b.txt", "ünï")
	now := w.attach(by, l, "a.txt", "new") // in the place of the other, although there are as many as there may be
	w.wantFiles(id, "a.txt", "b.txt", "ünï")
	w.wantLost(old)
	if files, err := w.store.Files(w.Context(), id); err != nil || files[0].ID != now || files[0].Size != 3 || w.content(now) != "new" {
		w.Fatalf("files are %+v, %v", files, err)
	}
	_, err := w.store.BeginFile(w.Context(), by.Holder, l.Job.LeaseNo, jobstore.File{Job: id, Name: "more"}, 3)
	w.wantErr("one more than there may be", err, jobstore.ErrRefused)
}

func filesFenced(w *world) {
	by, other := w.consumer(), w.consumer()
	id := w.insert(plain())[0]
	l := w.claimOne(by, id)
	f := jobstore.File{Job: id, Name: "a"}
	_, err := w.store.BeginFile(w.Context(), other.Holder, l.Job.LeaseNo, f, 3)
	w.wantErr("another holder", err, jobstore.ErrRefused)
	_, err = w.store.BeginFile(w.Context(), by.Holder, l.Job.LeaseNo+1, f, 3)
	w.wantErr("another lease", err, jobstore.ErrRefused)
	begun := w.begun(by, l, "a")
	w.recorded(by, outcome(l, jobstore.TemporarilyFailed))
	w.wantErr("an attempt that has ended", w.store.EndFile(w.Context(), by.Holder, begun, 1), jobstore.ErrRefused)
	w.wantErr("no file", w.store.EndFile(w.Context(), by.Holder, 1<<40, 1), jobstore.ErrRefused)
	w.wantFiles(id)
	w.wantLost(begun)
	w.due(id)
	w.claimOne(by, id)
	w.wantErr("the next attempt", w.store.EndFile(w.Context(), by.Holder, begun, 1), jobstore.ErrRefused)
}

func fileContent(w *world) {
	by := w.consumer()
	l := w.claimOne(by, w.insert(plain())[0])
	id := w.begun(by, l, "a")
	for _, size := range []int{0, 1, jobstore.FilePart, 2*jobstore.FilePart + 17, 5} {
		want := strings.Repeat("\x00\xff", size/2+1)[:size]
		n, err := w.store.WriteFile(w.Context(), id, iotest.HalfReader(strings.NewReader(want)))
		w.check("write", err)
		if got := w.content(id); n != int64(size) || got != want {
			w.Fatalf("%d bytes came back as %d of %d", size, len(got), n)
		}
	}
	broken := errors.New("the disk is full")
	_, err := w.store.WriteFile(w.Context(), id, io.MultiReader(bytes.NewReader(make([]byte, 10)), iotest.ErrReader(broken)))
	w.wantErr("a reader that fails", err, broken)
}

func filesLost(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain(), plain())
	leases := w.claim(by, ids...)
	var files []jobstore.FileID
	for _, l := range leases {
		files = append(files, w.attach(by, l, "a", "content"))
	}
	half := w.begun(by, leases[2], "half")
	w.finish(by, leases[0])
	w.recorded(by, outcome(leases[1], jobstore.TemporarilyFailed), outcome(leases[2], jobstore.PermanentlyFailed))
	w.wantLost(half)
	_, err := w.store.Delete(w.Context(), []jobstore.ID{leases[1].Job.ID})
	w.check("delete", err)
	_, err = w.store.Retain(w.Context(), jobstore.Retention{jobstore.Finished: 0}, 100)
	w.check("retain", err)
	w.wantLost(sorted([]jobstore.FileID{files[0], files[1], half})...)
	w.wantFiles(leases[0].Job.ID)
	w.wantFiles(leases[2].Job.ID, "a")
	_, err = w.store.Retry(w.Context(), []jobstore.ID{leases[2].Job.ID})
	w.check("retry", err)
	w.wantFiles(leases[2].Job.ID, "a")
	w.check("remove", w.store.RemoveFiles(w.Context(), []jobstore.FileID{files[0], files[1], half, 1 << 40}))
	w.check("forget", w.store.ForgetFiles(w.Context(), append([]jobstore.FileID{half}, files...)))
	w.wantLost()
	w.wantFiles(leases[2].Job.ID, "a") // it is not lost, whoever says so
	if got := w.content(files[2]); got != "content" {
		w.Fatalf("the other file has %q", got)
	}
}
