// Command warren is for operators: it prepares, inspects and mends an installation.
package main

import "github.com/warrenq/warren/internal/cli"

func main() { cli.Main(cli.Warren) }
