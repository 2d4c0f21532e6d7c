package app

import (
	"context"
	"slices"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/jobstore"
)

// settleHints is how long a queue is kept from its consumers, so that what they have is claimed or
// comes back: they hand back after 250 ms what they have no slot for.
const settleHints = time.Second

// suspects are what the first look at a band has found. Each list is sorted.
type suspects struct {
	noHint, noRow, twice []jobstore.ID
}

func (s suspects) none() bool { return len(s.noHint)+len(s.noRow)+len(s.twice) == 0 }

// hints compares the rows with the messages, band by band, so that never more than the numbers of
// one queue are in memory.
func (r *reconciler) hints(ctx context.Context) error {
	bands, err := r.allBands(ctx)
	if err != nil {
		return err
	}
	heads, err := r.store.ClaimableHeads(ctx)
	if err != nil {
		return err
	}
	headsOf := map[jobstore.Band][]jobstore.ID{}
	for _, h := range heads {
		headsOf[h.Band] = append(headsOf[h.Band], h.ID)
	}
	odd := map[broker.Band]suspects{}
	for _, b := range bands {
		s, err := r.firstLook(ctx, b, headsOf[jobstore.Band(b)])
		if err != nil {
			return err
		}
		if !s.none() {
			odd[b] = s
		}
	}
	if len(odd) == 0 {
		return nil
	}
	if err := pause(ctx); err != nil {
		return err
	}
	for _, b := range bands {
		if s, ok := odd[b]; ok {
			if err := r.secondLook(ctx, b, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// allBands are those that are configured, that living consumers take, and that have due jobs: AMQP
// cannot list queues.
func (r *reconciler) allBands(ctx context.Context) ([]broker.Band, error) {
	bands := slices.Clone(r.bands)
	taken, err := r.store.LiveBands(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range taken {
		bands = append(bands, broker.Band(b))
	}
	waiting, err := r.store.Backlog(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range waiting {
		bands = append(bands, broker.Band(b.Band))
	}
	slices.SortFunc(bands, compareBands)
	return slices.Compact(bands), nil
}

func compareBands(a, b broker.Band) int {
	if a.Queue != b.Queue {
		if a.Queue < b.Queue {
			return -1
		}
		return 1
	}
	return a.Priority - b.Priority
}

// firstLook reads a band's queue and gives it back.
func (r *reconciler) firstLook(ctx context.Context, band broker.Band, heads []jobstore.ID) (s suspects, err error) {
	var numbers []jobstore.ID
	held, err := r.admin.Hold(ctx, band, 0, func(m rabbitmq.HeldMessage) {
		for _, n := range m.Numbers {
			numbers = append(numbers, jobstore.ID(n))
		}
	})
	if end := held.Release(); err == nil {
		err = end
	}
	if err != nil {
		return s, err
	}
	slices.Sort(numbers)
	for i := 1; i < len(numbers); i++ {
		if numbers[i] == numbers[i-1] && (len(s.twice) == 0 || s.twice[len(s.twice)-1] != numbers[i]) {
			s.twice = append(s.twice, numbers[i])
		}
	}
	numbers = slices.Compact(numbers)
	if s.noRow, err = r.notReady(ctx, band, numbers); err != nil {
		return s, err
	}
	s.twice = without(s.twice, s.noRow)
	s.noHint = without(heads, numbers)
	for after := jobstore.ID(0); ; {
		page, err := r.store.Claimable(ctx, jobstore.Band(band), after, auditBatch)
		if err != nil {
			return s, err
		}
		s.noHint = append(s.noHint, without(page, numbers)...)
		if len(page) < auditBatch {
			break
		}
		after = page[len(page)-1]
	}
	slices.Sort(s.noHint)
	return s, nil
}

// without are those of ids that a sorted list does not have.
func without(ids, list []jobstore.ID) []jobstore.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id jobstore.ID) bool { return has(list, id) })
}

func has(list []jobstore.ID, id jobstore.ID) bool {
	_, found := slices.BinarySearch(list, id)
	return found
}

// notReady are those of the sorted ids that are no READY jobs of the band.
func (r *reconciler) notReady(ctx context.Context, band broker.Band, ids []jobstore.ID) (vain []jobstore.ID, err error) {
	for part := range slices.Chunk(ids, auditBatch) {
		ready, err := r.store.ReadyOf(ctx, jobstore.Band(band), part)
		if err != nil {
			return nil, err
		}
		vain = append(vain, without(part, ready)...)
	}
	return vain, nil
}

// secondLook holds the queue again, and mends it while nobody else can get at it.
func (r *reconciler) secondLook(ctx context.Context, band broker.Band, s suspects) error {
	settle := time.Duration(0)
	if len(s.noHint) > 0 {
		settle = settleHints
	}
	times := map[jobstore.ID]int{}
	var odd []rabbitmq.HeldMessage
	held, err := r.admin.Hold(ctx, band, settle, func(m rabbitmq.HeldMessage) {
		suspect := false
		for _, n := range m.Numbers {
			id := jobstore.ID(n)
			bad := has(s.noRow, id) || has(s.twice, id)
			if bad || has(s.noHint, id) {
				times[id]++
			}
			suspect = suspect || bad
		}
		if suspect {
			odd = append(odd, m)
		}
	})
	if err == nil {
		err = r.judge(ctx, band, &s, times)
	}
	gone := 0
	if err == nil && r.fix {
		gone, err = r.clean(ctx, band, held, odd, s)
	}
	if end := held.Release(); err == nil {
		err = end
	}
	if err != nil {
		return err
	}
	fixed := func(ids []jobstore.ID) int {
		if gone == len(odd) && r.fix {
			return len(ids)
		}
		return 0
	}
	r.add(ProblemNoRow, jobstore.Band(band), s.noRow, fixed(s.noRow))
	r.add(ProblemDuplicate, jobstore.Band(band), s.twice, fixed(s.twice))
	return r.announce(ctx, band, s.noHint)
}

// judge keeps of the suspects what is still so: times says how often each is in the queue now.
func (r *reconciler) judge(ctx context.Context, band broker.Band, s *suspects, times map[jobstore.ID]int) (err error) {
	s.noRow = slices.DeleteFunc(s.noRow, func(id jobstore.ID) bool { return times[id] == 0 })
	if s.noRow, err = r.notReady(ctx, band, s.noRow); err != nil {
		return err
	}
	s.twice = slices.DeleteFunc(s.twice, func(id jobstore.ID) bool { return times[id] < 2 })
	var missing []jobstore.ID
	s.noHint = slices.DeleteFunc(s.noHint, func(id jobstore.ID) bool { return times[id] > 0 })
	for part := range slices.Chunk(s.noHint, auditBatch) {
		still, err := r.store.ClaimableOf(ctx, jobstore.Band(band), part)
		if err != nil {
			return err
		}
		missing = append(missing, still...)
	}
	s.noHint = missing
	return nil
}

// clean takes numbers without a row, and all but the first of the same number, out of held messages.
// What a message has besides is published, and confirmed, before the message goes: at every moment
// each good number is in some message. It returns how many of the messages are as they should be.
func (r *reconciler) clean(ctx context.Context, band broker.Band, held *rabbitmq.Held, odd []rabbitmq.HeldMessage, s suspects) (done int, err error) {
	kept := map[jobstore.ID]bool{}
	var drop []rabbitmq.HeldMessage
	var rest []broker.Hint
	for _, m := range odd {
		var good []int64
		for _, n := range m.Numbers {
			id := jobstore.ID(n)
			if has(s.noRow, id) || kept[id] {
				continue
			}
			kept[id] = has(s.twice, id)
			good = append(good, n)
		}
		if len(good) == len(m.Numbers) {
			done++
			continue
		}
		drop = append(drop, m)
		rest = append(rest, broker.Hint{Band: band, Numbers: good})
	}
	failed := r.publish(ctx, rest)
	for i, m := range drop {
		if failed[i] != nil {
			err = failed[i]
			continue
		}
		if err := held.Drop(m); err != nil {
			return done, err
		}
		done++
	}
	return done, err
}

// publish sends the hints that have numbers. The error of hint i is at errs[i].
func (r *reconciler) publish(ctx context.Context, hints []broker.Hint) (errs []error) {
	errs = make([]error, len(hints))
	var full []broker.Hint
	var at []int
	for i, h := range hints {
		if len(h.Numbers) > 0 {
			full, at = append(full, h), append(at, i)
		}
	}
	if len(full) == 0 {
		return errs
	}
	for k, err := range r.publisher.Publish(ctx, full) {
		errs[at[k]] = err
	}
	return errs
}

// announce reports jobs without a hint, and gives them one.
func (r *reconciler) announce(ctx context.Context, band broker.Band, ids []jobstore.ID) error {
	news := slices.DeleteFunc(slices.Clone(ids), func(id jobstore.ID) bool { return r.known[id] })
	if !r.fix || len(ids) == 0 {
		r.add(ProblemNoHint, jobstore.Band(band), news, 0)
		return nil
	}
	refs := make([]jobstore.Ref, len(ids))
	for i, id := range ids {
		refs[i] = jobstore.Ref{ID: id, Band: jobstore.Band(band)}
	}
	failed, err := dispatch.NewBrokered(r.publisher, r.hintSize).Announce(ctx, refs)
	if len(failed) > 0 { // the sweep goes on with what is in the outbox
		late := make([]jobstore.ID, len(failed))
		for i, ref := range failed {
			late[i] = ref.ID
		}
		if noted := r.store.Unannounced(ctx, late); err == nil {
			err = noted
		}
	}
	r.add(ProblemNoHint, jobstore.Band(band), news, max(0, len(news)-len(failed)))
	return err
}
