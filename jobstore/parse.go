package jobstore

import (
	"fmt"
	"slices"
	"strings"
)

// ParseStates reads the names of states, separated by commas, in upper or lower case.
func ParseStates(list string) ([]State, error) {
	var states []State
	for name := range strings.SplitSeq(list, ",") {
		state := State(strings.ToUpper(strings.TrimSpace(name)))
		if !state.Valid() {
			var known []string
			for _, s := range States() {
				known = append(known, string(s))
			}
			return nil, fmt.Errorf("state %.80q is not one of %s", name, strings.Join(known, ", "))
		}
		states = append(states, state)
	}
	return states, nil
}

// ParseArgsMatch reads args.PATH=VALUE, such as args.to=a@example.com.
func ParseArgsMatch(text string) (ArgsMatch, error) {
	path, value, ok := strings.Cut(text, "=")
	parts := strings.Split(path, ".")
	if !ok || len(parts) < 2 || parts[0] != "args" || slices.Contains(parts, "") {
		return ArgsMatch{}, fmt.Errorf("%.200q is not of the form args.PATH=VALUE, such as args.to=a@example.com", text)
	}
	return ArgsMatch{Path: parts[1:], Value: value}, nil
}
