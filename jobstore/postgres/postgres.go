package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// DefaultSchema is where the tables are unless Config says otherwise.
const DefaultSchema = "warren"

// protocolTimeout bounds each statement of the protocol, each wait for a lock and each pause
// inside a transaction: a frozen process must not hold up the others.
const protocolTimeout = 3 * time.Second

// bulkTimeout bounds what works on many rows or changes the schema.
const bulkTimeout = 5 * time.Minute

const connectTimeout = 5 * time.Second

// Config is how a Store is opened. The zero value works.
type Config struct {
	// Schema holds the tables. It must match [a-z_][a-z0-9_]{0,62}; default DefaultSchema.
	Schema string
	// MaxConns is the most connections that are open at once, LISTEN's not counted; default 8.
	MaxConns int
	// Log receives warnings about the server's settings; nil = nothing is logged.
	Log *zap.Logger
	// DirectURL leads to the server past a transaction pooler, for LISTEN; "" = the URL of Open.
	DirectURL string
}

// Store keeps jobs in one schema of a PostgreSQL database. Its methods may be called by many
// goroutines at once.
type Store struct {
	schema string
	direct *pgx.ConnConfig // for LISTEN
	log    *zap.Logger
	pool   *pgxpool.Pool
	brake  brake
	sql    map[string]string // statement as written -> with the schema's name
	local  bool              // settings travel with each statement, because a pooler drops them at connect
	pooled bool              // there is a pooler, and no way past it
	insert *batcher[jobstore.NewJob, jobstore.Inserted]
	note   *batcher[heldNote, struct{}]
	guards guards
	fronts fronts
	plain  plainness

	outcasts outcasts
}

var _ jobstore.Store = (*Store)(nil)

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Open connects to the database at rawURL (postgres://… or a keyword/value string) and looks at
// its settings. It does not need the schema to be there; see Check and Migrate. The caller ends
// with Close. Its errors never contain the password. An address on another machine without an
// sslmode means sslmode=verify-full; a weaker one that it has is used, with a warning.
func Open(ctx context.Context, rawURL string, c Config) (*Store, error) {
	s := &Store{schema: cmp.Or(c.Schema, DefaultSchema), log: c.Log}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if !schemaName.MatchString(s.schema) {
		return nil, fmt.Errorf("schema %q: %w: the name must match %s", s.schema, jobstore.ErrInvalid, schemaName)
	}
	conf, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	warnOpen(s.log, conf)
	s.direct = conf
	if c.DirectURL != "" {
		if s.direct, err = parse(c.DirectURL); err != nil {
			return nil, err
		}
	}
	s.sql = map[string]string{}
	for _, text := range statements() {
		s.sql[text] = s.withSchema(text)
	}
	if conf, err = s.probe(ctx, conf.Copy()); err != nil {
		return nil, err
	}
	s.pooled = s.local && c.DirectURL == ""
	if s.pool, err = newPool(ctx, rawURL, conf, cmp.Or(c.MaxConns, 8), &s.brake); err != nil {
		return nil, err
	}
	s.insert = newBatcher(s.insertBatch, insertFlights, insertBatchRows)
	s.note = newBatcher(s.noteBatch, noteFlights, noteBatchRows)
	s.guards = newGuards(s)
	s.fronts.start()
	return s, nil
}

// Close waits for the statements in flight and closes every connection.
func (s *Store) Close() {
	s.insert.wait()
	s.note.wait()
	s.guards.wait()
	s.fronts.end()
	s.pool.Close()
}

// Schema returns the name of the schema.
func (s *Store) Schema() string { return s.schema }

// withSchema puts the schema's name into a statement, once as an identifier and once as a text.
func (s *Store) withSchema(text string) string {
	return strings.NewReplacer(
		"@schema@", pgx.Identifier{s.schema}.Sanitize(),
		"@schema_text@", "'"+s.schema+"'", // its pattern allows no quote
	).Replace(text)
}

// parse reads a connection string. pgx quotes the string in its errors, so that only the reason
// at their end is kept.
func parse(rawURL string) (*pgx.ConnConfig, error) {
	conf, err := parseVerified(rawURL)
	if err == nil {
		return conf, nil
	}
	var parse *pgconn.ParseConfigError
	reason := "the connection string cannot be read"
	if inner := errors.Unwrap(err); errors.As(err, &parse) && inner != nil {
		if u, ok := errors.AsType[*url.Error](inner); ok {
			inner = u.Err
		}
		if text := inner.Error(); !strings.Contains(text, rawURL) {
			reason = text
		}
	}
	return nil, fmt.Errorf("database address: %w: %s; write postgres://user:password@host:5432/database", jobstore.ErrInvalid, redact(reason, rawURL))
}

// redact takes every part of a connection string that may be a password out of a text.
func redact(text, rawURL string) string {
	if u, err := url.Parse(rawURL); err == nil && u.User != nil {
		if pw, ok := u.User.Password(); ok && pw != "" {
			text = strings.ReplaceAll(text, pw, "***")
		}
	} else if _, rest, ok := strings.Cut(rawURL, "://"); ok {
		// A string that is no URL may hold its password anywhere before the last @.
		if i := strings.LastIndex(rest, "@"); i >= 0 {
			if _, pw, ok := strings.Cut(rest[:i], ":"); ok && pw != "" {
				text = strings.ReplaceAll(text, pw, "***")
			}
		}
	}
	for word := range strings.FieldsSeq(rawURL) {
		if pw, ok := strings.CutPrefix(word, "password="); ok && pw != "" {
			text = strings.ReplaceAll(text, pw, "***")
		}
	}
	return text
}

// settings are what protocol statements run under. Plans never scan a whole table just because
// it was empty when the plan was made. Where there is nothing but a scan, forbidding it makes the
// plan look expensive enough to be compiled, for seconds: hence no jit either. Plans are made
// once: to plan a claim costs more than to run it, and the plan tests hold that the general plan
// is a good one.
func settings() map[string]string {
	ms := millis(protocolTimeout)
	return map[string]string{
		"statement_timeout":                   ms,
		"lock_timeout":                        ms,
		"idle_in_transaction_session_timeout": ms,
		"enable_seqscan":                      "off",
		"jit":                                 "off",
		"plan_cache_mode":                     "force_generic_plan",
	}
}

// millis is a duration as PostgreSQL's settings want it.
func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

const probeSQL = `-- warren: probe
SELECT current_setting('statement_timeout'), current_setting('fsync'), current_setting('synchronous_commit'),
       current_setting('server_version_num')::int, pg_is_in_recovery()`

// probe connects once and finds out whether settings can be given at connect. A transaction
// pooler refuses them or swallows them; then they travel with each statement, and pgx must not
// name prepared statements.
func (s *Store) probe(ctx context.Context, conf *pgx.ConnConfig) (*pgx.ConnConfig, error) {
	tuned := conf.Copy()
	maps.Copy(tuned.RuntimeParams, settings())
	if tuned.RuntimeParams["application_name"] == "" {
		tuned.RuntimeParams["application_name"] = "warren"
	}
	if conf.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		timeout, err := s.look(ctx, tuned)
		if err == nil && timeout == "3s" {
			return tuned, nil
		}
		if err != nil && !strings.Contains(err.Error(), "unsupported startup parameter") {
			return nil, err
		}
	}
	// This one names no statement and works everywhere. Whoever asks for exec or simple_protocol wants just that;
	// those two would have to guess the types of parameters.
	conf.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	s.local = true
	if _, err := s.look(ctx, conf); err != nil {
		return nil, err
	}
	return conf, nil
}

// look connects, warns about unsafe settings, and returns the statement timeout in force.
func (s *Store) look(ctx context.Context, conf *pgx.ConnConfig) (timeout string, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, conf.Copy())
	if err != nil {
		return "", fmt.Errorf("connect to the database: %w", explainTLS(err))
	}
	defer closeConn(ctx, conn)
	var fsync, synchronous string
	var version int
	var standby bool
	err = conn.QueryRow(ctx, probeSQL, pgx.QueryExecModeExec).Scan(&timeout, &fsync, &synchronous, &version, &standby)
	switch {
	case err != nil:
		return "", fmt.Errorf("look at the database's settings: %w", err)
	case version < 140000:
		return "", fmt.Errorf("PostgreSQL %d is too old; Warren needs version 14 or newer", version/10000)
	case standby:
		return "", errors.New("this PostgreSQL is a standby and cannot be written to; connect to the primary")
	}
	if fsync == "off" {
		s.log.Warn("fsync is off: a crash of the database can lose committed jobs and damage its files")
	}
	if synchronous == "off" {
		s.log.Warn("synchronous_commit is off: a crash of the database can lose jobs of its last moments")
	}
	return timeout, nil
}
