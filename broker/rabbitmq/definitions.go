package rabbitmq

import (
	"encoding/json"
	"maps"
)

// Definitions is a layout in the format that `rabbitmqctl import_definitions` and the management
// API load, for brokers whose topology is managed by others than Warren.
func (l Layout) Definitions(vhost string) ([]byte, error) {
	d := definitions{
		Vhosts: []defVhost{{Name: vhost}}, Policies: []struct{}{},
		Exchanges: []defExchange{}, Queues: []defQueue{}, Bindings: []defBinding{},
	}
	for _, e := range l.Exchanges {
		d.Exchanges = append(d.Exchanges, defExchange{Name: e.Name, Vhost: vhost, Type: e.Kind, Durable: true, Arguments: arguments(e.Args)})
	}
	for _, q := range l.Queues {
		d.Queues = append(d.Queues, defQueue{Name: q.Name, Vhost: vhost, Durable: true, Arguments: arguments(q.Args)})
		d.Bindings = append(d.Bindings, defBinding{
			Source: q.Exchange, Vhost: vhost, Destination: q.Name, DestinationType: "queue", RoutingKey: q.Name, Arguments: arguments(nil),
		})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// arguments is never null, which the broker would refuse.
func arguments(args map[string]any) map[string]any {
	if args == nil {
		return map[string]any{}
	}
	return maps.Clone(args)
}

type definitions struct {
	Vhosts    []defVhost    `json:"vhosts"`
	Exchanges []defExchange `json:"exchanges"`
	Queues    []defQueue    `json:"queues"`
	Bindings  []defBinding  `json:"bindings"`
	Policies  []struct{}    `json:"policies"`
}

type defVhost struct {
	Name string `json:"name"`
}

type defExchange struct {
	Name       string         `json:"name"`
	Vhost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
}

type defQueue struct {
	Name       string         `json:"name"`
	Vhost      string         `json:"vhost"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Arguments  map[string]any `json:"arguments"`
}

type defBinding struct {
	Source          string         `json:"source"`
	Vhost           string         `json:"vhost"`
	Destination     string         `json:"destination"`
	DestinationType string         `json:"destination_type"`
	RoutingKey      string         `json:"routing_key"`
	Arguments       map[string]any `json:"arguments"`
}
