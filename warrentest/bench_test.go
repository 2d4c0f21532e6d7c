package warrentest_test

import (
	"testing"

	"github.com/warrenq/warren/warrentest"
)

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		warrentest.New(b, mailer(delivered))
	}
}

// One job, from its publish to its row.
func BenchmarkDrain(b *testing.B) {
	env := warrentest.New(b, mailer(delivered))
	for b.Loop() {
		if _, err := env.Client().Publish(b.Context(), Mail{}); err != nil {
			b.Fatal(err)
		}
		if n := len(env.Drain()); n != 1 {
			b.Fatalf("%d attempts", n)
		}
	}
}
