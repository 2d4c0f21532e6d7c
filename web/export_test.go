package web

import (
	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Route is one of the routes, for tests.
type Route struct {
	Method, Path, Produces, Also string
	Takes                        bool
	Params                       []string
}

// Routes lists the routes.
func Routes() (list []Route) {
	for _, one := range routes() {
		list = append(list, Route{one.method, one.path, one.produces, one.also, one.takes, one.params})
	}
	return list
}

// Answers has a value of every answer, by the name of its schema.
func Answers() map[string]any {
	return map[string]any{
		"Published": &published{}, "Job": &jobstore.Job{}, "Page": &page{}, "Explanation": &Explanation{}, "Logs": &jobLogs{},
		"Change": &change{}, "Stats": &jobstore.Stats{}, "Queues": &queueList{}, "Consumers": &consumerList{}, "Kinds": &kindList{},
		"Problem": &Problem{}, "Batch": &warren.BatchInfo{}, "Files": &fileList{},
	}
}
