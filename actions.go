package warren

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// KindGroup is a set of kinds that belong together: the actions of one part of a program, such as product.sync_stock
// and product.import. Make one with Group, and hand it to Registry.Add.
type KindGroup struct {
	name    string
	actions []action
	err     error
}

type action struct {
	kind, folded string
	handle       RawHandler
	opts         []KindOpts
}

// Group begins a group of kinds. Its name is the first part of theirs, with the rules of a kind's name. A mistake is
// reported by NewConsumer.
func Group(name string) *KindGroup {
	g := &KindGroup{name: name}
	if err := checkKind(name); err != nil {
		g.err = fmt.Errorf("group: %w", err)
	}
	return g
}

// Handle makes h the handler of an action. Its kind is the group's name, a dot, and the action's name in small
// letters with underscores: sync_stock, sync-stock and syncStock are all sync_stock, so only one of them may be
// given, and so may only one of names that differ in capitals and separators alone. At most one KindOpts counts;
// without a scope of its own the kind has the group's name as Describe.Scope.
func (g *KindGroup) Handle(name string, h RawHandler, opts ...KindOpts) *KindGroup {
	kind, err := g.Kind(name)
	if err != nil {
		g.err = errors.Join(g.err, err)
		return g
	}
	a := action{kind: kind, folded: strings.ReplaceAll(kind, "_", ""), handle: h, opts: opts}
	if i := slices.IndexFunc(g.actions, func(b action) bool { return b.folded == a.folded }); i >= 0 {
		g.err = errors.Join(g.err, fmt.Errorf("group %s: action %q and action %s of it are one name; give one of them another", g.name, name, g.actions[i].kind))
		return g
	}
	g.actions = append(g.actions, a)
	return g
}

// HandleArgs is Handle for typed args. A's Kind must be the action's.
func HandleArgs[A Args](g *KindGroup, name string, f func(ctx context.Context, job *Job[A]) error, opts ...KindOpts) *KindGroup {
	kind, err := g.Kind(name)
	if own := (*new(A)).Kind(); err == nil && own != kind {
		g.err = errors.Join(g.err, fmt.Errorf("args of action %s are of kind %q; let their Kind return %q", name, own, kind))
		return g
	}
	return g.Handle(name, raw(HandlerFunc[A](f)), opts...)
}

// Kind is the kind of an action, to publish it: Group("product").Kind("sync-stock") is product.sync_stock. An error
// when name has no letter or digit, or anything but letters, digits, - and _ of ASCII.
func (g *KindGroup) Kind(name string) (string, error) {
	words, err := actionWords(name)
	if err != nil {
		return "", fmt.Errorf("group %.140s: %w", g.name, err)
	}
	kind := g.name + "." + strings.Join(words, "_")
	return kind, checkKind(kind)
}

// Add registers the kinds of groups.
func (r *Registry) Add(groups ...*KindGroup) {
	for _, g := range groups {
		r.err = errors.Join(r.err, g.err)
		if g.err == nil && len(g.actions) == 0 {
			r.err = errors.Join(r.err, fmt.Errorf("group %s has no actions", g.name))
		}
		for _, a := range g.actions {
			o := KindOpts{}
			if len(a.opts) > 0 {
				o = a.opts[0]
			}
			if o.Describe.Scope == "" && checkQueue(g.name) == nil {
				o.Describe.Scope = g.name
			}
			r.Raw(a.kind, a.handle, o)
		}
	}
}

// actionWords splits a name at its separators, and where a capital follows a small letter or a digit.
func actionWords(name string) (words []string, err error) {
	if len(name) > 100 {
		return nil, fmt.Errorf("action %.40q… has %d bytes; at most 100 are allowed", name, len(name))
	}
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	before := rune(0)
	for _, r := range name {
		switch {
		case r == '_' || r == '-':
			end()
		case r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r):
			return nil, fmt.Errorf("action %.140q is not a name: use letters, digits, - and _, such as sync_stock", name)
		default:
			if unicode.IsUpper(r) && (unicode.IsLower(before) || unicode.IsDigit(before)) {
				end()
			}
			word.WriteRune(unicode.ToLower(r))
		}
		before = r
	}
	if end(); len(words) == 0 {
		return nil, fmt.Errorf("action %q is not a name: use letters, digits, - and _, such as sync_stock", name)
	}
	return words, nil
}
