package storetest

func readTests() []test { return nil }
