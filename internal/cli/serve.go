package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/health"
)

// defaultListen is where the API listens unless told otherwise.
const defaultListen = "127.0.0.1:8080"

func serveCmd(env *Env) *cobra.Command {
	var listen, tokenFile string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API, for producers in other languages",
		Long: `Serve the HTTP API: publish jobs, look at them, change them. /api/v1/openapi.json describes it.

Only this machine reaches the default address. Another one needs a token, which then comes with
every request as "Authorization: Bearer TOKEN". SIGTERM or SIGINT lets requests under way end.`,
		Example: `  producer serve
  producer serve --listen 0.0.0.0:8080 --token-file /run/secrets/warren-token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.serve(cmd, listen, tokenFile) },
	}
	cmd.Flags().StringVar(&listen, "listen", defaultListen, "HOST:PORT to listen on; a port alone is one of 127.0.0.1")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file with the token that requests must bring (default: the configuration's api_token)")
	return cmd
}

func (e *Env) serve(cmd *cobra.Command, listen, tokenFile string) error {
	cfg, err := e.load(cmd)
	if err != nil {
		return err
	}
	addr, err := e.apiAddress(cmd, cfg, listen, tokenFile)
	if err != nil {
		return err
	}
	a, err := app.Open(cmd.Context(), cfg, e.options("producer"))
	if errors.Is(err, app.ErrUsage) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	defer a.Close()
	err = a.ServeAPI(cmd.Context(), addr, e.Second)
	if errors.Is(err, app.ErrUsage) {
		return usage(err)
	}
	return err
}

// apiAddress is where the API may be served; it reads the token that guards it.
func (e *Env) apiAddress(cmd *cobra.Command, cfg *config.Config, listen, tokenFile string) (string, error) {
	addr, err := health.Address(listen)
	if err != nil {
		return "", usagef("--listen: %w", err)
	}
	if cmd.Flags().Changed("token-file") {
		if cfg.APIToken, err = readToken(tokenFile); err != nil {
			return "", usagef("--token-file: %w", err)
		}
	}
	if err := app.CheckListen(cfg, addr); err != nil {
		return "", usage(err)
	}
	return addr, nil
}

// readToken reads a token from a file, which must have one.
func readToken(path string) (config.Secret, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the file that the caller named on the command line
	if err != nil {
		return "", err
	}
	token, err := config.CheckAPIToken(string(text))
	if err == nil && token == "" {
		err = fmt.Errorf("%s is empty; put the token into it", path)
	}
	return token, err
}
