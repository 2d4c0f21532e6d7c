package sweeper

import "context"

// flowsOnce settles what ended in flows without being counted (by SQL, say), and cancels jobs of steps that
// were called off.
func (s *Sweeper) flowsOnce(ctx context.Context) (more bool, err error) {
	for range rounds {
		refs, more, err := s.cfg.Store.SettleFlows(ctx, s.cfg.Batch)
		s.announce(ctx, refs)
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}
