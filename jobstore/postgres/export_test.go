package postgres

import (
	"context"
	"crypto/tls"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// What the tests look at from inside.

// Statements returns every statement by its first line, with the schema's name in place.
func (s *Store) Statements() []string {
	out := make([]string, 0, len(s.sql))
	for _, text := range statements() {
		out = append(out, s.sql[text])
	}
	return out
}

// Texts of the hot statements, for plan tests.
func (s *Store) ClaimSQL() string          { return s.sql[claimSQL] }
func (s *Store) ClaimNextSQL() string      { return s.sql[claimNextSQL] }
func (s *Store) ClaimPlainSQL() string     { return s.sql[claimPlainSQL] }
func (s *Store) ClaimNextPlainSQL() string { return s.sql[claimNextPlainSQL] }
func (s *Store) ClaimTurnsSQL() string     { return s.sql[claimTurnsSQL] }
func (s *Store) RecordSQL() string         { return s.sql[recordSQL] }
func (s *Store) RecordFinishedSQL() string { return s.sql[recordFinishedSQL] }
func (s *Store) NoteSQL() string           { return s.sql[noteSQL] }
func (s *Store) GaugesSQL() string         { return s.sql[gaugesSQL] }
func (s *Store) OldestSQL() string         { return s.sql[oldestSQL] }
func (s *Store) ReadyFromSQL() string      { return s.sql[readyFromSQL] }
func (s *Store) RescueSQL() string         { return s.sql[rescueSQL] }
func (s *Store) InsertSQL() string         { return s.sql[insertSQL] }
func (s *Store) AnnouncedSQL() string      { return s.sql[announcedSQL] }
func (s *Store) UnannouncedSQL() string    { return s.sql[unannouncedSQL] }
func (s *Store) AnnounceLaterSQL() string  { return s.sql[announceLaterSQL] }
func (s *Store) GrantedSQL() string        { return s.sql[grantedSQL] }
func (s *Store) InsertPlainSQL() string    { return s.sql[insertPlainSQL] }

// BatchSQL are the statements that take a part of many rows, by name.
func (s *Store) BatchSQL() map[string]string {
	return map[string]string{
		"due": s.sql[dueSQL], "retain": s.sql[retainSQL], "clear": s.sql[clearSQL], "reannounce": s.sql[reannounceSQL],
	}
}

// Local reports whether settings travel with each statement.
func (s *Store) Local() bool { return s.local }

// NewBatcher is newBatcher for strings.
func NewBatcher(run func(context.Context, []string) ([]string, error), flights, limit int) func(context.Context, ...string) ([]string, error) {
	b := newBatcher(run, flights, limit)
	return func(ctx context.Context, items ...string) ([]string, error) { return b.do(ctx, items) }
}

// ErrUnknown is the error of a caller that did not wait for the commit.
var ErrUnknown = errUnknown

// How connections are encrypted.

func Parse(rawURL string) (*pgx.ConnConfig, error)   { return parse(rawURL) }
func WarnOpen(log *zap.Logger, conf *pgx.ConnConfig) { warnOpen(log, conf) }
func TLSConfigs(conf *pgx.ConnConfig) []*tls.Config  { return tlsConfigs(conf) }
func ExplainTLS(err error) error                     { return explainTLS(err) }

// Front is where a holder's claims begin.
type Front struct{ f *front }

// ScoutBatch is how many jobs of a band a scout brings at most.
const ScoutBatch = scoutBatch

func NewFront() Front { return Front{&front{}} }

func (s *Store) Front(by jobstore.Claimant) Front { return Front{s.fronts.of(by, time.Now())} }

func (f Front) Begin(by jobstore.Claimant, n int, now time.Time) ([]int64, []jobstore.ID) {
	return f.f.begin(by, n, now)
}

func (f Front) End(by jobstore.Claimant, n int, leases []jobstore.Lease, after []int64, took time.Duration, now time.Time) {
	f.f.end(by, n, leases, after, took, now)
}

func (f Front) Scout(by jobstore.Claimant, now time.Time) ([]int64, bool) { return f.f.scout(by, now) }

func (f Front) Scouted(found []jobstore.Ref, took time.Duration, now time.Time) {
	f.f.scouted(found, took, now)
}

// Behind has claims begin behind this number in every band of by, as if they were slow; the first has a scout sent.
func (f Front) Behind(by jobstore.Claimant, id jobstore.ID) {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	f.f.away, f.f.took, f.f.turned = true, time.Hour, time.Now().Add(time.Hour)
	f.f.after = map[jobstore.Band]jobstore.ID{}
	for b := range bandsOf(by) {
		f.f.after[b] = id
	}
	f.f.soon, f.f.next = maps.Clone(f.f.after), maps.Clone(f.f.after)
}

// AwaitScouts returns when none is under way.
func (s *Store) AwaitScouts() { s.fronts.scouts.Wait() }
