package dispatch_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/jobstore"
)

type wakes func(bands []jobstore.Band) error

func (w wakes) Wake(_ context.Context, bands []jobstore.Band) error { return w(bands) }

// sends is a publisher that answers each hint by itself.
type sends struct {
	hints  []broker.Hint
	answer func(h broker.Hint) error
}

func (s *sends) Publish(_ context.Context, hints []broker.Hint) []error {
	s.hints = hints
	if s.answer == nil {
		return nil
	}
	errs := make([]error, len(hints))
	for i, h := range hints {
		errs[i] = s.answer(h)
	}
	return errs
}

func refsOf(priority int, ids ...jobstore.ID) []jobstore.Ref {
	refs := make([]jobstore.Ref, len(ids))
	for i, id := range ids {
		refs[i] = jobstore.Ref{ID: id, Band: jobstore.Band(band(priority))}
	}
	return refs
}

func TestHintsAreGroupedByBandInOrder(t *testing.T) {
	t.Parallel()
	var s sends
	refs := slices.Concat(refsOf(10, 5, 4), refsOf(20, 1), refsOf(10, 3, 2), refsOf(20, 9))
	if failed, err := dispatch.NewBrokered(&s, 3).Announce(t.Context(), refs); len(failed) != 0 || err != nil {
		t.Fatalf("failed %v, %v", failed, err)
	}
	want := []broker.Hint{
		{Band: band(10), Numbers: []int64{5, 4, 3}}, {Band: band(20), Numbers: []int64{1, 9}}, {Band: band(10), Numbers: []int64{2}},
	}
	if !slices.EqualFunc(s.hints, want, func(a, b broker.Hint) bool { return a.Band == b.Band && slices.Equal(a.Numbers, b.Numbers) }) {
		t.Errorf("sent %v, want %v", s.hints, want)
	}
}

func TestTheHintSizeHasADefaultAndALimit(t *testing.T) {
	t.Parallel()
	ids := make([]jobstore.ID, 2*broker.MaxNumbers)
	for i := range ids {
		ids[i] = jobstore.ID(i + 1)
	}
	for size, want := range map[int]int{0: dispatch.DefaultHintSize, 1: 1, 1 << 20: broker.MaxNumbers} {
		var s sends
		if _, err := dispatch.NewBrokered(&s, size).Announce(t.Context(), refsOf(10, ids...)); err != nil {
			t.Fatal(err)
		}
		if n := len(s.hints[0].Numbers); n != want {
			t.Errorf("hint size %d: %d numbers, want %d", size, n, want)
		}
	}
}

func TestWhatIsNotConfirmedFailed(t *testing.T) {
	t.Parallel()
	s := sends{answer: func(h broker.Hint) error {
		if h.Priority == 20 {
			return broker.ErrUnavailable
		}
		return nil
	}}
	refs := slices.Concat(refsOf(10, 1, 2), refsOf(20, 3, 4), refsOf(30, 5))
	failed, err := dispatch.NewBrokered(&s, 0).Announce(t.Context(), refs)
	if !errors.Is(err, broker.ErrUnavailable) || !slices.Equal(failed, refsOf(20, 3, 4)) {
		t.Errorf("failed %v, %v; want 3 and 4", failed, err)
	}
}
