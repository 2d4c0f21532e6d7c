package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warrenq/warren/jobstore"
)

// filterSQL is the one place that builds SQL: it joins conditions from a fixed list, and every
// value is a bind parameter.
func filterSQL(f jobstore.Filter) (where string, args []any) {
	var b conditions
	if len(f.States) > 0 {
		states := make([]string, len(f.States))
		for i, s := range f.States {
			states[i] = string(s)
		}
		b.add("j.state = ANY (%s::text[])", states)
	}
	if len(f.Queues) > 0 {
		b.add("j.queue = ANY (%s::text[])", f.Queues)
	}
	if len(f.Kinds) > 0 {
		b.add("j.kind = ANY (%s::text[])", f.Kinds)
	}
	if f.MinPriority != nil {
		b.add("j.priority >= %s::int", clamp(*f.MinPriority))
	}
	if f.MaxPriority != nil {
		b.add("j.priority <= %s::int", clamp(*f.MaxPriority))
	}
	if len(f.Priorities) > 0 {
		b.add("j.priority = ANY (%s::int[])", small(f.Priorities))
	}
	if len(f.Identifiers) > 0 {
		b.add("j.identifier = ANY (%s::text[])", f.Identifiers)
	}
	if len(f.SerialGroups) > 0 {
		b.add("j.serial_group = ANY (%s::text[])", f.SerialGroups)
	}
	if len(f.CreatedBy) > 0 {
		b.add("j.metadata ->> 'created_by' = ANY (%s::text[])", f.CreatedBy)
	}
	if len(f.Tags) > 0 {
		b.add("j.tags @> %s::text[]", f.Tags)
	}
	for _, m := range f.Where {
		path := b.bind(filled(m.Path))
		b.add("j.args #>> "+path+"::text[] = %s::text", m.Value)
	}
	if f.OlderThan > 0 {
		b.add("j.created_at <= now() - make_interval(secs => %s::bigint / 1e6)", f.OlderThan.Microseconds())
	}
	if len(f.IDs) > 0 {
		b.add("j.id = ANY (%s::bigint[])", f.IDs)
	}
	if len(f.Ranges) > 0 {
		from, to := ends(f.Ranges)
		// The outermost numbers are what an index can use.
		b.add("j.id >= %s::bigint", slices.Min(from))
		b.add("j.id <= %s::bigint", slices.Max(to))
		first := b.bind(from)
		b.add("EXISTS (SELECT FROM unnest("+first+"::bigint[], %s::bigint[]) r(a, b) WHERE j.id BETWEEN r.a AND r.b)", to)
	}
	if f.After > 0 {
		b.add("j.id > %s::bigint", f.After)
	}
	if len(b.parts) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(b.parts, " AND "), b.args
}

// ends are the first and the last numbers of ranges.
func ends(ranges [][2]jobstore.ID) (from, to []jobstore.ID) {
	for _, r := range ranges {
		from, to = append(from, r[0]), append(to, r[1])
	}
	return from, to
}

type conditions struct {
	parts []string
	args  []any
}

// bind adds a parameter and returns its place.
func (c *conditions) bind(v any) string {
	c.args = append(c.args, v)
	return fmt.Sprintf("$%d", len(c.args))
}

// add adds a condition with one parameter, at its %s.
func (c *conditions) add(condition string, v any) {
	c.parts = append(c.parts, fmt.Sprintf(condition, c.bind(v)))
}
