package rabbitmq

import "slices"

// tags are the delivery tags of one channel that are not settled, and it knows how to settle
// many with few frames. Tags come in increasing order and are never reused on a channel. It has
// no lock of its own.
//
// The broker closes the channel when it is asked to settle a tag it does not know, and a
// multiple acknowledgement below which nothing is open counts as that. So a tag is named to the
// broker at most once, and the frames must be sent in the order in which settle returned them.
type tags struct {
	open []openTag // increasing
	last uint64    // the highest so far
}

type openTag struct {
	tag  uint64
	done bool // settled singly; waits only for lower ones to be forgotten
}

// frame is one settlement as the broker hears it.
type frame struct {
	tag      uint64
	multiple bool
}

// add notes a delivery. It reports false, and notes nothing, when the tag is not higher than all
// before: then this is not the stream that the broker sent.
func (t *tags) add(tag uint64) bool {
	if tag <= t.last {
		return false
	}
	t.last = tag
	t.open = append(t.open, openTag{tag: tag})
	return true
}

// settle marks list as settled and returns the frames that say so: one for everything up to the
// first tag that stays open, and one for each beyond. Unknown and already settled tags are left
// out.
func (t *tags) settle(list []uint64) []frame {
	fresh := make([]uint64, 0, len(list))
	for _, tag := range list {
		i, found := t.find(tag)
		if found && !t.open[i].done {
			t.open[i].done = true
			fresh = append(fresh, tag)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.Sort(fresh)
	done := 0
	for done < len(t.open) && t.open[done].done {
		done++
	}
	var frames []frame
	covered := 0
	if done > 0 {
		edge := t.open[done-1].tag
		for covered < len(fresh) && fresh[covered] <= edge {
			covered++
		}
		if covered > 0 { // named by its highest fresh tag: a higher one may be settled already
			frames = append(frames, frame{tag: fresh[covered-1], multiple: covered > 1})
		}
		t.open = t.open[done:]
	}
	for _, tag := range fresh[covered:] {
		frames = append(frames, frame{tag: tag})
	}
	return frames
}

// holds reports whether tag is still to be settled.
func (t *tags) holds(tag uint64) bool {
	i, found := t.find(tag)
	return found && !t.open[i].done
}

func (t *tags) find(tag uint64) (int, bool) {
	return slices.BinarySearchFunc(t.open, tag, func(o openTag, tag uint64) int {
		switch {
		case o.tag < tag:
			return -1
		case o.tag > tag:
			return 1
		}
		return 0
	})
}
