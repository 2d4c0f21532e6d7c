package storetest

import (
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func adminTests() []test {
	return []test{
		{"migrating again changes nothing, from many processes too", func(w *world) {
			w.insert(plain())
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if err := w.store.Migrate(w.Context()); err != nil {
						w.Errorf("migrate: %v", err)
					}
				})
			}
			wg.Wait()
			w.wantTotal(1)
			w.check("check", w.store.Check(w.Context()))
			list, err := w.store.Migrations(w.Context())
			w.check("migrations", err)
			for i, m := range list {
				if m.Number != i+1 || m.Name == "" || !m.Applied {
					w.Fatalf("migrations: %+v", list)
				}
			}
		}},
		{"the configuration can be stored again and again", func(w *world) {
			s := jobstore.Settings{
				Priorities: []int{1, 2}, DefaultQueue: "q", MaxArgs: 100,
				Kinds: []jobstore.KindDefaults{{Kind: "k", Queue: "media", Priority: 2, MaxAttempts: 3, Timeout: time.Minute}},
			}
			for range 2 {
				w.check("configure", w.store.Configure(w.Context(), s))
				s.Kinds = append(s.Kinds, jobstore.KindDefaults{Kind: "other"})
			}
			w.check("configure with defaults", w.store.Configure(w.Context(), jobstore.Settings{}))
		}},
	}
}
