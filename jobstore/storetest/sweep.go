package storetest

func sweepTests() []test { return nil }
