package warrentest_test

import (
	"fmt"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/warrentest"
)

func ExampleRequireFlow() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().PublishFlow(t.Context(), warren.Chain(Order{ID: 1, City: "Bern"}, Receipt{Order: 1})); err != nil {
		t.Fatal(err)
	}
	warrentest.RequireFlow(t, env, warren.Chain(Order{ID: 1, City: "Bern"}, Receipt{Order: 1}))
	// Output:
}

func ExampleRequireBatch() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	evening := warren.Batch("evening", Order{ID: 1, City: "Bern"}, Order{ID: 2, City: "Oslo"}).OnFinish(Receipt{Order: 2})
	if _, err := env.Client().PublishFlow(t.Context(), evening); err != nil {
		t.Fatal(err)
	}
	for _, job := range warrentest.RequireBatch(t, env, "evening") {
		fmt.Printf("%s\n", job.Args)
	}
	// Output:
	// {"id":1,"city":"Bern"}
	// {"id":2,"city":"Oslo"}
}

func ExampleRequireNoFlow() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Order{ID: 1, City: "Bern"}); err != nil {
		t.Fatal(err)
	}
	warrentest.RequireNoFlow(t, env)
	// Output:
}
