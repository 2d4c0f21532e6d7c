package storetest

func nextTests() []test { return nil }
