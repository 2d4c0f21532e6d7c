package storetest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func kindsTests() []test {
	return []test{
		{"registered by versions, without flapping", kindsOfVersions},
		{"living consumers", kindsOfConsumers},
		{"shown", kindsShown},
		{"disabled", kindDisabled},
		{"pruned", kindsPruned},
		{"settings", kindSettings},
	}
}

// starts registers kind k as a program of a version that calls it so does, with a consumer when it has one.
func (w *world) starts(version, title string, lives bool) (id jobstore.HolderID) {
	w.Helper()
	w.check("configure", w.store.Configure(w.Context(), jobstore.Settings{Version: version, Kinds: []jobstore.KindDefaults{{
		Kind: "k", Queue: "media", Priority: 20, MaxAttempts: 3, Timeout: time.Minute,
		Title: title, Description: "d", Scope: "s", Schema: json.RawMessage(`{"type": "object"}`),
	}}}))
	if lives {
		var err error
		id, err = w.store.Register(w.Context(), jobstore.Consumer{Host: "h" + version, PID: 1, Version: version, Kinds: []string{"k"}, Queues: []string{"media"}}, long)
		w.check("register", err)
	}
	return id
}

// kind is kind k as it is listed.
func (w *world) kind() jobstore.KindInfo {
	w.Helper()
	list, err := w.store.Kinds(w.Context())
	w.check("kinds", err)
	i := slices.IndexFunc(list, func(k jobstore.KindInfo) bool { return k.Kind == "k" })
	if i < 0 {
		w.Fatalf("kind k is not among %+v", list)
	}
	return list[i]
}

func (w *world) wantTitle(when, version, title string) {
	w.Helper()
	if k := w.kind(); k.Title != title || k.Version != version {
		w.Fatalf("%s: the kind is %q of version %q, want %q of %q", when, k.Title, k.Version, title, version)
	}
}

func kindsOfVersions(w *world) {
	w.starts("1", "one", true)
	k := w.kind()
	if k.Description != "d" || k.Scope != "s" || k.Queue != "media" || k.Priority != 20 || k.MaxAttempts != 3 || k.Timeout != time.Minute ||
		!sameJSON(k.Schema, json.RawMessage(`{"type": "object"}`)) || k.FirstSeen.IsZero() || k.Settings != nil || k.Defaults != nil {
		w.Fatalf("registered %+v", k)
	}
	first := k.FirstSeen
	two := w.starts("2", "two", true)
	w.wantTitle("a newer one has come", "2", "two")
	w.starts("1", "one", true)
	w.wantTitle("the old one starts again during the deploy", "2", "two")
	w.starts("2", "two, mended", false)
	w.wantTitle("the newer one with other words", "2", "two, mended")
	w.check("deregister", w.store.Deregister(w.Context(), two))
	w.starts("1", "one", false)
	w.wantTitle("the deploy was taken back", "1", "one")
	if again := w.kind().FirstSeen; !again.Equal(first) {
		w.Fatalf("first seen %s, then %s", first, again)
	}
}

func kindsOfConsumers(w *world) {
	w.starts("1", "one", true)
	w.starts("2", "two", true)
	_, err := w.store.Register(w.Context(), jobstore.Consumer{Host: "other", Kinds: []string{"other"}, Queues: []string{"default"}}, long)
	w.check("register", err)
	_, err = w.store.Register(w.Context(), jobstore.Consumer{Host: "dead", Kinds: []string{"k"}}, -long)
	w.check("register", err)
	k := w.kind()
	if k.Consumers != 2 || !slices.Equal(k.Hosts, []string{"h1", "h2"}) || !slices.Equal(k.Versions, []string{"1", "2"}) || !slices.Equal(k.Queues, []string{"media"}) {
		w.Fatalf("who has it: %+v", k)
	}
}

func kindsShown(w *world) {
	w.check("configure", w.store.Configure(w.Context(), jobstore.Settings{Kinds: []jobstore.KindDefaults{{Kind: "a"}, {Kind: "b"}, {Kind: "c"}}}))
	w.check("edit", w.store.EditKind(w.Context(), "c", jobstore.KindEdit{Position: new(-7)}))
	w.check("edit", w.store.EditKind(w.Context(), "c", jobstore.KindEdit{Hidden: new(true)}))
	w.wantErr("edit a kind that is not there", w.store.EditKind(w.Context(), "x", jobstore.KindEdit{Hidden: new(true)}), jobstore.ErrNotFound)
	w.check("configure", w.store.Configure(w.Context(), jobstore.Settings{Kinds: []jobstore.KindDefaults{{Kind: "c", Title: "again"}}}))
	list, err := w.store.Kinds(w.Context())
	w.check("kinds", err)
	if len(list) != 3 || list[0].Kind != "c" || !list[0].Hidden || list[0].Position != -7 || list[0].Title != "again" || list[1].Kind != "a" || list[1].Hosts == nil {
		w.Fatalf("kinds %+v", list)
	}
}

func kindDisabled(w *world) {
	w.starts("1", "one", false)
	other := plain()
	other.Kind = "other"
	ids := append(w.insert(plain()), w.insert(other)...)
	by := w.consumer()
	w.check("disable", w.store.DisableKind(w.Context(), "k", "first"))
	w.check("disable", w.store.DisableKind(w.Context(), "k", "because"))
	w.claims(by, ids, ids[1])
	if k := w.kind(); k.DisabledAt == nil || k.DisabledFor != "because" {
		w.Fatalf("disabled: %+v", k)
	}
	w.paused(jobstore.PauseOfKind, "k") // which are two things
	w.resumed(jobstore.PauseOfKind, "k")
	w.claims(by, ids, ids[1])
	facts, err := w.store.Explain(w.Context(), ids[0])
	w.check("explain", err)
	gates := facts.Gates(jobstore.BrokerView{})
	if i := slices.IndexFunc(gates, func(g jobstore.Gate) bool { return g.Name == jobstore.GateDisabled }); i < 0 || !gates[i].Blocking || gates[i].Facts["reason"] != "because" {
		w.Fatalf("why: %+v", gates)
	}
	w.resumed(jobstore.PauseOfDisabled, "k")
	w.claims(by, ids, ids...)
	if k := w.kind(); k.DisabledAt != nil {
		w.Fatalf("enabled: %+v", k)
	}
}

func kindsPruned(w *world) {
	var defaults []jobstore.KindDefaults
	for _, name := range []string{"used", "k", "disabled", "idle"} {
		defaults = append(defaults, jobstore.KindDefaults{Kind: name})
	}
	w.check("configure", w.store.Configure(w.Context(), jobstore.Settings{Kinds: defaults}))
	_, err := w.store.Register(w.Context(), jobstore.Consumer{Host: "h", Kinds: []string{"used"}}, long)
	w.check("register", err)
	w.insert(plain())
	w.check("disable", w.store.DisableKind(w.Context(), "disabled", ""))
	for _, c := range []struct {
		when   string
		unseen time.Duration
		dryRun bool
		want   []string
	}{
		{"seen lately", long, false, nil},
		{"a dry run", 0, true, []string{"idle"}},
		{"in earnest", 0, false, []string{"idle"}},
		{"again", 0, false, nil},
	} {
		got, err := w.store.PruneKinds(w.Context(), c.unseen, c.dryRun)
		w.check("prune", err)
		if !slices.Equal(got, c.want) {
			w.Fatalf("%s: pruned %v, want %v", c.when, got, c.want)
		}
	}
}

func kindSettings(w *world) {
	w.starts("1", "one", false)
	edition := func(want int64) {
		w.Helper()
		id, err := w.store.Register(w.Context(), jobstore.Consumer{Host: "h"}, long)
		w.check("register", err)
		o, err := w.store.Renew(w.Context(), id, long)
		w.check("renew", err)
		set, err := w.store.KindSettings(w.Context(), []string{"k", "none"})
		w.check("settings", err)
		if o.Edition != want || set.Edition != want {
			w.Fatalf("the heartbeat brings edition %d, the settings have %d, want %d", o.Edition, set.Edition, want)
		}
	}
	edition(0)
	one, two := json.RawMessage(`{"a": 1}`), json.RawMessage(`{"a": 2}`)
	w.check("set", w.store.SetKindSettings(w.Context(), "k", nil, one))
	edition(1)
	w.wantErr("set what somebody else has set", w.store.SetKindSettings(w.Context(), "k", nil, two), jobstore.ErrRefused)
	w.wantErr("set for a kind that is not there", w.store.SetKindSettings(w.Context(), "none", nil, two), jobstore.ErrNotFound)
	edition(1)
	set, err := w.store.KindSettings(w.Context(), []string{"k"})
	w.check("settings", err)
	if len(set.Kinds) != 1 || !sameJSON(set.Kinds["k"], one) {
		w.Fatalf("settings %s", set.Kinds)
	}
	w.starts("2", "two", false) // which keeps them
	w.check("set", w.store.SetKindSettings(w.Context(), "k", w.kind().Settings, nil))
	edition(2)
	if k := w.kind(); k.Settings != nil {
		w.Fatalf("settings %s", k.Settings)
	}
}
