package rabbitmq_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// authority is a CA of one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, key := a.sign(tmpl)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, key
	a.file = writePEM(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) sign(tmpl *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// leaf is a certificate for host that ends after validity, and its files.
func (a *authority) leaf(host string, validity time.Duration) (pair tls.Certificate, certFile, keyFile string) {
	a.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(validity),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, key := a.sign(tmpl)
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile = writePEM(a.t, "cert.pem", "CERTIFICATE", der)
	keyFile = writePEM(a.t, "key.pem", "EC PRIVATE KEY", keyDER)
	if pair, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		a.t.Fatal(err)
	}
	return pair, certFile, keyFile
}

func writePEM(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// terminate is an amqps URL whose TLS ends at a listener with cfg, before the broker of rawURL.
func terminate(t *testing.T, rawURL string, cfg *tls.Config) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	upstream := u.Host
	u.Host, _ = listen(t, func(c net.Conn) { relay(tls.Server(c, cfg), upstream) })
	u.Scheme = "amqps"
	return u.String()
}

// relay joins down with a new connection to upstream until either ends.
func relay(down net.Conn, upstream string) {
	defer func() { _ = down.Close() }()
	up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", upstream)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, down)
		_ = up.Close()
	}()
	_, _ = io.Copy(down, up)
	_ = down.Close()
	<-done
}

func TestTLS(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	ca, other := newAuthority(t), newAuthority(t)
	good, _, _ := ca.leaf("127.0.0.1", time.Hour)
	expired, _, _ := ca.leaf("127.0.0.1", -time.Hour)
	elsewhere, _, _ := ca.leaf("broker.example", time.Hour)
	_, clientCert, clientKey := ca.leaf("client", time.Hour)
	_, strangeCert, strangeKey := other.leaf("client", time.Hour)
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	mutual := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	noPEM := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}

	serve := func(pair tls.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	for name, c := range map[string]struct {
		server *tls.Config
		tls    rabbitmq.TLS
		params string
		says   string // "" = it works
	}{
		"signed by our CA":                {serve(good), rabbitmq.TLS{CAFile: ca.file}, "", ""},
		"CA in the URL":                   {serve(good), rabbitmq.TLS{}, "?cacertfile=" + url.QueryEscape(ca.file), ""},
		"not signed by a CA we know":      {serve(good), rabbitmq.TLS{}, "", "certificate"},
		"signed by another CA":            {serve(good), rabbitmq.TLS{CAFile: other.file}, "", "certificate"},
		"expired":                         {serve(expired), rabbitmq.TLS{CAFile: ca.file}, "", "expired"},
		"for another host":                {serve(elsewhere), rabbitmq.TLS{CAFile: ca.file}, "", "127.0.0.1"},
		"for another host, as configured": {serve(elsewhere), rabbitmq.TLS{CAFile: ca.file, ServerName: "broker.example"}, "", ""},
		"TLS 1.1":                         {old, rabbitmq.TLS{CAFile: ca.file}, "", "protocol version"},
		"with our own certificate":        {mutual, rabbitmq.TLS{CAFile: ca.file, CertFile: clientCert, KeyFile: clientKey}, "", ""},
		"without our own certificate":     {mutual, rabbitmq.TLS{CAFile: ca.file}, "", "certificate required"},
		"with a strange certificate":      {mutual, rabbitmq.TLS{CAFile: ca.file, CertFile: strangeCert, KeyFile: strangeKey}, "", "certificate"},
		"CA file is missing":              {serve(good), rabbitmq.TLS{CAFile: "/nowhere/ca.pem"}, "", "/nowhere/ca.pem"},
		"CA file holds no certificate":    {serve(good), rabbitmq.TLS{CAFile: noPEM}, "", noPEM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, rabbitmq.Config{URL: terminate(t, direct, c.server) + c.params, TLS: c.tls, Log: zap.NewNop()})
			if c.says == "" {
				publishEventually(t, b, hint(10, 1))
				return
			}
			s := subscribe(t, b, 1, 10)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := s.Next(ctx)
			if !errors.Is(err, broker.ErrConfig) {
				t.Fatalf("Next = %v; want ErrConfig: a person has to act", err)
			}
			contains(t, err.Error(), c.says)
			if b.Stats().Connected != 0 {
				t.Error("a connection was made all the same")
			}
		})
	}
}

// Renewed files are used by the next connection.
func TestTLSFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	pair, _, _ := ca.leaf("127.0.0.1", time.Hour)
	file := filepath.Join(t.TempDir(), "ca.pem")
	replace := func(from string) {
		pem, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(file, pem, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace(other.file)
	b := start(t, rabbitmq.Config{
		URL: terminate(t, testenv.RabbitMQ(t), &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}),
		TLS: rabbitmq.TLS{CAFile: file}, Log: zap.NewNop(),
	})
	eventually(t, "refused", func() bool {
		errs := b.Publish(t.Context(), []broker.Hint{hint(10, 1)})
		return len(errs) == 1 && errors.Is(errs[0], broker.ErrConfig)
	})
	replace(ca.file)
	publishEventually(t, b, hint(10, 1))
}

func TestPlainConnectionsBeyondThisMachineAreWarnedAbout(t *testing.T) {
	t.Parallel()
	for u, want := range map[string]int{
		"amqp://127.0.0.1": 0, "amqp://[::1]": 0, "amqp://localhost": 0, "amqps://broker.example": 0,
		"amqp://u:" + canary + "@broker.example": 1, "amqp://10.0.0.1,amqp://10.0.0.2": 2,
	} {
		log, logs := observed()
		open(t, rabbitmq.Config{URL: u, Log: log})
		if n := logs.FilterMessageSnippet("not encrypted").Len(); n != want {
			t.Errorf("%d warnings; want %d", n, want)
		}
	}
}
