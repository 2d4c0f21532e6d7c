package cli

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// writeFile makes a file that is whole or not there. What is no file, such as a pipe or /dev/null, is written and stays
// what it is.
func writeFile(name string, write func(w io.Writer) error) (err error) {
	if followed, err := filepath.EvalSymlinks(name); err == nil {
		name = followed
	}
	mode := os.FileMode(0o666)
	switch old, err := os.Stat(name); {
	case err == nil && !old.Mode().IsRegular():
		file, err := os.OpenFile(name, os.O_WRONLY, 0) //nolint:gosec // the user's own
		if err != nil {
			return err
		}
		return errors.Join(write(file), file.Close())
	case err == nil:
		mode = old.Mode().Perm()
	}
	// A name that nobody foresees: in a directory of many users somebody else might have put a link there.
	part := filepath.Join(filepath.Dir(name), ".warren-"+rand.Text())
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the user's own file
	if err != nil {
		return err
	}
	err = errors.Join(write(file), file.Close())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}
