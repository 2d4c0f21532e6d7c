package storetest

func keyTests() []test { return nil }
