package testenv

// Reap lets tests remove left-over directories where they put some.
func Reap(root string) { reap(root) }

// ForbidServices lets tests try the policy file in a place of their own.
func ForbidServices(policy string) (restore func() error, err error) { return forbidServices(policy) }

// DirPrefix is how the directories of this package begin.
const DirPrefix = dirPrefix
