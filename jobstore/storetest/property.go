package storetest

func propertyTests() []test { return nil }
