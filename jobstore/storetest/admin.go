package storetest

func adminTests() []test { return nil }
