// Command consumer runs jobs.
package main

import "github.com/warrenq/warren/internal/cli"

func main() { cli.Main(cli.Consumer) }
