// Command consumer runs jobs.
package main

import (
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/metrics"
)

func main() {
	cli.Main(cli.Measured(func(cfg app.MetricsConfig) app.Metrics { return metrics.New(metrics.Config(cfg)) }))
}
