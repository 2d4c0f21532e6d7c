package postgres

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// parseVerified reads a connection string as pgx does, except that a connection that leaves this
// machine is encrypted and its certificate checked, unless sslmode says something else. pgx, like
// libpq, would go on without encryption when somebody in between says that the server has none.
func parseVerified(rawURL string) (*pgx.ConnConfig, error) {
	conf, err := pgx.ParseConfig(rawURL)
	if err == nil && leaves(conf) && !saysSSLMode(rawURL) {
		conf, err = pgx.ParseConfig(verified(rawURL))
	}
	if err != nil {
		return nil, err
	}
	for _, t := range tlsConfigs(conf) {
		if t != nil {
			t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
		}
	}
	return conf, nil
}

var sslModeWord = regexp.MustCompile(`(^|\s)sslmode\s*=`)

// saysSSLMode reports whether a person has decided, in the string or the environment.
func saysSSLMode(rawURL string) bool {
	if os.Getenv("PGSSLMODE") != "" {
		return true
	}
	if u, err := url.Parse(rawURL); err == nil && u.Scheme != "" {
		return u.Query().Has("sslmode")
	}
	return sslModeWord.MatchString(rawURL)
}

// verified is the string with the strictest sslmode.
func verified(rawURL string) string {
	const mode = "sslmode=verify-full"
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Scheme == "":
		return rawURL + " " + mode
	case u.RawQuery == "":
		u.RawQuery = mode
	default:
		u.RawQuery += "&" + mode
	}
	return u.String()
}

// leaves reports whether any of the hosts is on another machine.
func leaves(conf *pgx.ConnConfig) bool {
	hosts := []string{conf.Host}
	for _, f := range conf.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		ip := net.ParseIP(host)
		socket := strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@")
		if !socket && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

// tlsConfigs are those that are tried one after the other; nil = without encryption.
func tlsConfigs(conf *pgx.ConnConfig) []*tls.Config {
	list := []*tls.Config{conf.TLSConfig}
	for _, f := range conf.Fallbacks {
		list = append(list, f.TLSConfig)
	}
	return list
}

// warnOpen warns when jobs and the password may be read, or the server played, by others.
func warnOpen(log *zap.Logger, conf *pgx.ConnConfig) {
	if !leaves(conf) {
		return
	}
	const remedy = "; use sslmode=verify-full, with sslrootcert for a CA of your own"
	for _, t := range tlsConfigs(conf) {
		switch {
		case t == nil:
			log.Warn("the connection to the database may be without encryption: everybody on the way can read it, the password included"+remedy, zap.String("host", conf.Host))
			return
		case t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil:
			log.Warn("the connection to the database is encrypted, and nobody checks to whom"+remedy, zap.String("host", conf.Host))
			return
		}
	}
}

// explainTLS adds what to do to an error of a server that has no TLS.
func explainTLS(err error) error {
	if strings.Contains(err.Error(), "server refused TLS connection") {
		return fmt.Errorf("%w; a database on another machine has to speak TLS: set it up there, or, in a network that you trust, add sslmode=disable to DATABASE_URL", err)
	}
	return err
}
