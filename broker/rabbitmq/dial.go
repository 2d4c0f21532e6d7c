package rabbitmq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// dial connects to one node and completes the AMQP handshake, all within timeout. What comes from
// the broker is sieved if it is other people's messages. Its errors contain no secrets and are
// not classified yet.
func dial(ctx context.Context, e endpoint, name string, sift bool, timeout time.Duration) (*amqp.Connection, *wire, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	end, _ := ctx.Deadline()

	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.addr())
	if err != nil {
		return nil, nil, err
	}
	if e.secure {
		if conn, err = handshakeTLS(ctx, conn, e); err != nil {
			return nil, nil, err
		}
	}
	w, err := newWire(conn, end)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	// The end of ctx, too, must reach a handshake that waits for a silent broker.
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	var socket net.Conn = w
	if sift {
		socket = sieved{wire: w, sieve: newSieve(w, 2*e.heartbeat)}
	}
	c, err := amqp.Open(socket, amqpConfig(e, name))
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = w.settle(e.heartbeat*3/2, min(e.heartbeat, timeout))
	}
	if err != nil {
		_ = w.Close() // and with it the library's goroutines; on failure it leaves them running
		return nil, nil, explain(ctx, err, w)
	}
	return c, w, nil
}

// explain sets right what the library makes of a handshake that failed: whatever goes wrong
// after the password was sent is "wrong password" to it, whatever goes wrong when the vhost was
// asked for is "no access". Only what the broker says is believed.
func explain(ctx context.Context, err error, w *wire) error {
	var reply *amqp.Error
	switch ended := w.ended(); {
	case errors.As(err, &reply) && reply.Server:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("the AMQP handshake took too long: %w", context.Cause(ctx))
	case ended == nil:
		return err
	default:
		return fmt.Errorf("the connection broke during the AMQP handshake: %w", ended)
	}
}

// amqpConfig is the library's configuration. Recovery is nil and must stay nil: after the
// library's own recovery an acknowledgement of an old delivery settles whichever new one has its
// number.
func amqpConfig(e endpoint, name string) amqp.Config {
	props := amqp.NewConnectionProperties()
	props.SetClientConnectionName(name)
	props["product"] = "Warren"
	auth := login{Authentication: &amqp.PlainAuth{Username: e.user, Password: e.password()}, props: props}
	if e.external {
		auth.Authentication = &amqp.ExternalAuth{}
	}
	return amqp.Config{
		SASL: []amqp.Authentication{auth}, Vhost: e.vhost, Heartbeat: e.heartbeat,
		Properties: props, Locale: "en_US", FrameSize: 128 << 10,
	}
}

// login tells the broker, together with the password, that we want to hear when it refuses it.
//
// Without that RabbitMQ says nothing for three seconds and then drops the socket, which is also
// how a broker looks that stops at that moment. The library has no setting for it and overwrites
// the capabilities; but it asks for the response after that and before it sends both.
type login struct {
	amqp.Authentication
	props amqp.Table
}

// Response implements amqp.Authentication.
func (l login) Response() string {
	if c, ok := l.props["capabilities"].(amqp.Table); ok {
		c["authentication_failure_close"] = true
	}
	return l.Authentication.Response()
}

// handshakeTLS makes a TLS connection of conn. The files are read each time, so that renewed
// certificates need no restart.
func handshakeTLS(ctx context.Context, conn net.Conn, e endpoint) (net.Conn, error) {
	cfg, err := e.tlsConfig()
	if err == nil {
		secured := tls.Client(conn, cfg)
		if err = secured.HandshakeContext(ctx); err == nil {
			return secured, nil
		}
	}
	_ = conn.Close()
	return nil, fmt.Errorf("TLS: %w", err)
}

func (e endpoint) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.host}
	if e.tls.ServerName != "" {
		cfg.ServerName = e.tls.ServerName
	}
	if e.tls.CAFile != "" {
		pem, err := os.ReadFile(e.tls.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: the CA file %s holds no certificate in PEM form", broker.ErrConfig, e.tls.CAFile)
		}
	}
	if e.tls.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(e.tls.CertFile, e.tls.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: client certificate %s: %w", broker.ErrConfig, e.tls.CertFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
