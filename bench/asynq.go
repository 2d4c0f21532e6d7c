package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	tasks "github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// onRedis is Asynq. It has neither bulk inserts nor a history to speak of, and nothing to count statements with.
type onRedis struct {
	options   tasks.RedisClientOpt
	client    *tasks.Client
	inspector *tasks.Inspector
	now       setting
}

func newAsynq(addr string) *onRedis {
	o := tasks.RedisClientOpt{Addr: addr}
	return &onRedis{options: o, client: tasks.NewClient(o), inspector: tasks.NewInspector(o)}
}

func (q *onRedis) name() string       { return asynq }
func (q *onRedis) database() string   { return asynq }
func (q *onRedis) programs() []string { return []string{"redis-server"} }

func (q *onRedis) plays(test string) bool {
	switch test {
	case "insert1", "insert16", "insert64", "work", "e2e_singles", "latency":
		return true
	}
	return false
}

// settings: publishing has none.
func (q *onRedis) settings(test string) []setting {
	if strings.HasPrefix(test, "insert") {
		return []setting{{}}
	}
	return []setting{{Workers: 10}, {Workers: 100}, {Workers: 500}}
}

func (q *onRedis) use(_ context.Context, s setting) error {
	q.now = s
	return nil
}

// reset makes a new client: the old one remembers that it has announced its queue, which is forgotten now.
func (q *onRedis) reset(ctx context.Context, _ int) error {
	c, ok := q.options.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return errors.New("asynq made a Redis client of another kind than expected")
	}
	err := errors.Join(q.client.Close(), c.FlushAll(ctx).Err(), c.Close())
	q.client = tasks.NewClient(q.options)
	return err
}

func (q *onRedis) settle(context.Context) error { return nil } // there is nothing to settle

func (q *onRedis) insert(ctx context.Context, a args) error {
	payload, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = q.client.EnqueueContext(ctx, tasks.NewTask(kind, payload))
	return err
}

func (q *onRedis) insertMany(ctx context.Context, n int, _ bool) error {
	return insertSingly(ctx, q, n, 64) // only to fill the queue
}

func (q *onRedis) flushed(context.Context) error { return nil }

func (q *onRedis) work(_ context.Context, handle func(args)) (func() error, error) {
	server := tasks.NewServer(q.options, tasks.Config{Concurrency: q.now.Workers, LogLevel: tasks.FatalLevel})
	err := server.Start(tasks.HandlerFunc(func(_ context.Context, t *tasks.Task) error {
		var a args
		if err := json.Unmarshal(t.Payload(), &a); err != nil {
			return err
		}
		handle(a)
		return nil
	}))
	if err != nil {
		return nil, err
	}
	return func() error { server.Shutdown(); return nil }, nil
}

func (q *onRedis) unfinished(context.Context) (bool, error) {
	info, err := q.inspector.GetQueueInfo("default")
	if err != nil {
		return false, err
	}
	return info.Pending+info.Active+info.Retry > 0, nil
}

func (q *onRedis) close() {
	_ = q.client.Close()    // nothing is lost with it
	_ = q.inspector.Close() // nor with this
}
