// Package brokertest is for testing what uses a broker, and for testing brokers.
//
// Server is a broker in memory. Open gives broker.Brokers that are connected to it, each as a
// process of its own has it; Server's other methods make it fail on purpose. It uses no timers
// but for Publish before Run, and starts no goroutines, so that it can be used inside of
// testing/synctest.
//
// Exercise is the contract of package broker as tests. The real brokers and Server pass the same.
package brokertest
