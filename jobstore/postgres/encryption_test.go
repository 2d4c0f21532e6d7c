package postgres_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore/postgres"
)

// What leaves this machine is checked, or warned about.
func TestEncryptionByAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://u:p@127.0.0.1/d":                                 "",
		"postgres://u:p@[::1]/d":                                     "",
		"postgres://u:p@localhost/d?application_name=x":              "",
		"host=/run/postgresql user=u":                                "",
		"postgres://u:p@db.example.org/d":                            "verified",
		"postgres://u:p@db.example.org/d?application_name=x":         "verified",
		"postgres://u:p@10.0.0.7:5433/d":                             "verified",
		"host=db.example.org user=u password=p":                      "verified",
		"postgres://u:p@127.0.0.1,db.example.org/d":                  "verified",
		"postgres://u:p@db.example.org/d?sslmode=verify-full":        "verified",
		"postgres://u:p@db.example.org/d?sslmode=require":            "nobody checks",
		"postgres://u:p@db.example.org/d?sslmode=prefer":             "nobody checks",
		"postgres://u:p@db.example.org/d?sslmode=allow":              "without encryption",
		"postgres://u:p@db.example.org/d?sslmode=disable":            "without encryption",
		"host=db.example.org user=u password=p sslmode = 'disable' ": "without encryption",
	} {
		conf, err := postgres.Parse(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		core, logs := observer.New(zap.WarnLevel)
		postgres.WarnOpen(zap.New(core), conf)
		switch said := logs.All(); {
		case want == "" || want == "verified":
			if len(said) != 0 {
				t.Errorf("%s: warned: %s", address, said[0].Message)
			}
		case len(said) != 1 || !strings.Contains(said[0].Message, want):
			t.Errorf("%s: warned %v, want %q", address, said, want)
		}
		if want != "verified" {
			continue
		}
		for _, c := range postgres.TLSConfigs(conf) {
			if c == nil || c.InsecureSkipVerify || c.ServerName == "" || c.MinVersion < tls.VersionTLS12 {
				t.Errorf("%s: it may connect without checking: %+v", address, c)
			}
		}
	}
}

// Only a certificate of the right CA, for the right host and of today is accepted, and nobody may
// talk us into doing without.
func TestEncryptionByCertificate(t *testing.T) {
	t.Parallel()
	const host = "db.warren.test"
	plain := testenv.Postgres(t)
	ca, caFile := newCA(t)
	other, _ := newCA(t)
	for _, c := range []struct {
		name  string
		serve *tls.Config // nil = the server says that it has no TLS
		mode  string
		want  string
	}{
		{"the right one", serving(ca.leaf(t, host, time.Hour)), "", ""},
		{"another CA", serving(other.leaf(t, host, time.Hour)), "", "unknown authority"},
		{"self-signed", serving((&signer{}).leaf(t, host, time.Hour)), "", "unknown authority"},
		{"another host", serving(ca.leaf(t, "elsewhere.warren.test", time.Hour)), "", "not " + host},
		{"expired", serving(ca.leaf(t, host, -time.Minute)), "", "expired"},
		{"TLS 1.1", &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, host, time.Hour)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "", "protocol version"},
		{"no TLS", nil, "", "sslmode=disable"},
		{"no TLS, as asked", nil, "&sslmode=disable", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			upstream, err := url.Parse(plain)
			if err != nil {
				t.Fatal(err)
			}
			front := terminate(t, upstream.Host, c.serve)
			_, port, err := net.SplitHostPort(front)
			if err != nil {
				t.Fatal(err)
			}
			conf, err := postgres.Parse("postgres://postgres@" + host + ":" + port + upstream.Path + "?sslrootcert=" + url.QueryEscape(caFile) + c.mode)
			if err != nil {
				t.Fatal(err)
			}
			conf.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
			conn, err := pgx.ConnectConfig(t.Context(), conf)
			if err == nil {
				err = conn.Ping(t.Context())
				_ = conn.Close(t.Context())
			} else {
				err = postgres.ExplainTLS(err)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("connect: %v, want %q", err, c.want)
			}
		})
	}
}

// signer is a CA; the zero value signs with the leaf's own key.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) (ca *signer, file string) {
	t.Helper()
	ca = &signer{}
	der, key := ca.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca.cert, ca.key = cert, key
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca, file
}

func (s *signer) sign(t *testing.T, tmpl *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, with := s.cert, s.key
	if parent == nil {
		parent, with = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, with)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func (s *signer) leaf(t *testing.T, host string, validity time.Duration) tls.Certificate {
	t.Helper()
	der, key := s.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(validity),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func serving(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// terminate listens as a PostgreSQL server with TLS does, and hands what comes to upstream.
func terminate(t *testing.T, upstream string, cfg *tls.Config) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go front(c, upstream, cfg)
		}
	}()
	return l.Addr().String()
}

// front answers the request for TLS, which is eight bytes that begin with a zero and end with 0x2f,
// and joins both sides.
func front(c net.Conn, upstream string, cfg *tls.Config) {
	defer func() { _ = c.Close() }()
	first := bufio.NewReader(c)
	request, err := first.Peek(8)
	if err != nil {
		return
	}
	var down io.ReadWriter = struct {
		io.Reader
		io.Writer
	}{first, c}
	if request[7] == 0x2f && request[4] == 0x04 {
		_, _ = first.Discard(8)
		if cfg == nil {
			_, _ = c.Write([]byte{'N'})
		} else {
			_, _ = c.Write([]byte{'S'})
			down = tls.Server(c, cfg)
		}
	}
	up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", upstream)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	go func() {
		_, _ = io.Copy(up, down)
		_ = up.Close()
	}()
	_, _ = io.Copy(down, up)
}
