package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/warrenq/warren"
)

// weights reads the weights of the order, `{queues: {mail: 3}, priorities: {10: 6}}`.
func (l *loader) weights(v value, given bool) {
	if !given {
		l.list("weights", "{}", v.origin.at(v.node))
		return
	}
	l.cfg.Weights = l.weightsAt("weights", v.node, v.origin)
}

// weightsAt reads weights anywhere. Whether they are of queues and priorities that are taken, the consumer says.
func (l *loader) weightsAt(path string, n *yaml.Node, o origin) warren.Weights {
	w := warren.Weights{Queues: map[string]int{}, Priorities: map[int]int{}}
	l.block(path, n, o, fields{
		"queues": func(n *yaml.Node) error {
			l.each(n, o, path+".queues", func(name string, at, n *yaml.Node) {
				queue, err := checkQueue(name)
				if err == nil {
					w.Queues[queue], err = weight(n)
				}
				if err != nil {
					l.complain("%s: %s.queues: %w", o.at(at), path, err)
				}
			})
			return nil
		},
		"priorities": func(n *yaml.Node) error {
			l.each(n, o, path+".priorities", func(name string, at, n *yaml.Node) {
				p, err := l.priority(name)
				if err == nil {
					w.Priorities[p], err = weight(n)
				}
				if err != nil {
					l.complain("%s: %s.priorities: %w", o.at(at), path, err)
				}
			})
			return nil
		},
	})
	l.list(path, formatWeights(w), o.at(n))
	return w
}

// formatWeights writes them as YAML on one line.
func formatWeights(w warren.Weights) string {
	var queues, priorities []string
	for _, queue := range slices.Sorted(maps.Keys(w.Queues)) {
		queues = append(queues, strconv.Quote(queue)+": "+strconv.Itoa(w.Queues[queue]))
	}
	for _, p := range slices.Sorted(maps.Keys(w.Priorities)) {
		priorities = append(priorities, strconv.Itoa(p)+": "+strconv.Itoa(w.Priorities[p]))
	}
	return "{queues: {" + strings.Join(queues, ", ") + "}, priorities: {" + strings.Join(priorities, ", ") + "}}"
}

func weight(n *yaml.Node) (int, error) { return parseInt(resolve(n).Value, 1, 1000) }
