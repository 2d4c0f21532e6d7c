package sqlite

import (
	"fmt"
	"strings"

	"github.com/warrenq/warren/jobstore"
)

// filterSQL is the one place that builds SQL: it joins conditions from a fixed list, and every
// value is a bind parameter.
func (s *Store) filterSQL(f jobstore.Filter) (where string, args []any) {
	var b conditions
	b.oneOf("j.state", len(f.States), list(f.States))
	b.oneOf("j.queue", len(f.Queues), list(f.Queues))
	b.oneOf("j.kind", len(f.Kinds), list(f.Kinds))
	b.oneOf("j.priority", len(f.Priorities), list(f.Priorities))
	b.oneOf("j.identifier", len(f.Identifiers), list(f.Identifiers))
	b.oneOf("j.serial_group", len(f.SerialGroups), list(f.SerialGroups))
	b.oneOf("j.id", len(f.IDs), list(f.IDs))
	if f.MinPriority != nil {
		b.add("j.priority >= ?", *f.MinPriority)
	}
	if f.MaxPriority != nil {
		b.add("j.priority <= ?", *f.MaxPriority)
	}
	b.oneOf("j.metadata ->> '$.created_by'", len(f.CreatedBy), list(f.CreatedBy))
	if len(f.Tags) > 0 {
		b.add("NOT EXISTS (SELECT 1 FROM json_each(?) t WHERE t.value NOT IN (SELECT value FROM json_each(j.tags)))", list(f.Tags))
	}
	for _, m := range f.Where {
		b.args = append(b.args, argsMatch(&b.parts, m)...)
	}
	if f.OlderThan > 0 {
		b.add("j.created_at <= ?", stamp(s.now().Add(-f.OlderThan)))
	}
	if len(f.Ranges) > 0 {
		first, last := f.Ranges[0][0], f.Ranges[0][1]
		for _, r := range f.Ranges[1:] {
			first, last = min(first, r[0]), max(last, r[1])
		}
		b.add("j.id >= ?", first) // the outermost numbers are what an index can use
		b.add("j.id <= ?", last)
		b.add("EXISTS (SELECT 1 FROM json_each(?) r WHERE j.id BETWEEN json_extract(r.value, '$[0]') AND json_extract(r.value, '$[1]'))", list(f.Ranges))
	}
	if f.After > 0 {
		b.add("j.id > ?", f.After)
	}
	if len(b.parts) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(b.parts, " AND "), b.args
}

// argsMatch goes down one json_each for each name of the path: in a JSON path of SQLite a name
// that holds a quote cannot be written.
func argsMatch(parts *[]string, m jobstore.ArgsMatch) (args []any) {
	if len(m.Path) == 0 {
		*parts = append(*parts, "j.args = ?")
		return []any{m.Value}
	}
	from, where := []string{"json_each(j.args) e0"}, []string{"CAST(e0.key AS TEXT) = ?"}
	args = append(args, m.Path[0])
	for i, name := range m.Path[1:] {
		from = append(from, fmt.Sprintf("json_each(CASE WHEN e%[1]d.type IN ('object', 'array') THEN e%[1]d.value END) e%[2]d", i, i+1))
		where = append(where, fmt.Sprintf("CAST(e%d.key AS TEXT) = ?", i+1))
		args = append(args, name)
	}
	last := len(m.Path) - 1
	*parts = append(*parts, fmt.Sprintf(
		"EXISTS (SELECT 1 FROM %s WHERE %s AND CASE e%[3]d.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(e%[3]d.value AS TEXT) END = ?)",
		strings.Join(from, ", "), strings.Join(where, " AND "), last))
	return append(args, m.Value)
}

type conditions struct {
	parts []string
	args  []any
}

// add adds a condition with one parameter.
func (c *conditions) add(condition string, v any) {
	c.parts = append(c.parts, condition)
	c.args = append(c.args, v)
}

// oneOf wants a column to be in a list, unless that is empty.
func (c *conditions) oneOf(column string, n int, values string) {
	if n > 0 {
		c.add(column+" IN (SELECT value FROM json_each(?))", values)
	}
}
