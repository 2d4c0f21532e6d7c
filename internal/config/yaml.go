package config

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

var errEmpty = errors.New("it is empty")

// parseYAML returns the root of the one document in text, nil when there is nothing in it. Nodes
// are kept as they were written, so that complaints can name a line and 010 stays what it is.
func parseYAML(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil && strings.Contains(err.Error(), "unknown anchor"): // it names it: a password that begins with *
		return nil, errors.New("an alias (a value that begins with *) stands for nothing in this file; put the value into quotes")
	case err != nil:
		return nil, err
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is a second document after ---; keep one")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, nil
	}
	if root := doc.Content[0]; !isNull(root) {
		return root, nil
	}
	return nil, nil
}

// listOf returns the texts of a list of scalars.
func listOf(n *yaml.Node) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, errors.New(describe(n) + " is not a list")
	}
	texts := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		item = resolve(item)
		if item.Kind != yaml.ScalarNode {
			return nil, errors.New("the list has " + describe(item) + " in it; want plain values")
		}
		texts = append(texts, item.Value)
	}
	return texts, nil
}
