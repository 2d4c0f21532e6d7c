package storetest

func holdTests() []test { return nil }
