package rabbitmq

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// notAllowed is what a missing vhost, a vhost without permission and a reached limit of
// connections are refused with.
const notAllowed = 530

// classify wraps err in broker.ErrConfig when only a person can mend its cause and in
// broker.ErrUnavailable otherwise. An error that is classified already stays as it is.
//
// Only what the broker itself said counts as its refusal: the library makes errors with the same
// codes when a socket closes at the wrong moment.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, broker.ErrConfig), errors.Is(err, broker.ErrUnavailable):
		return err
	case refused(err):
		return fmt.Errorf("%w: %w", broker.ErrConfig, err)
	default:
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
}

func refused(err error) bool {
	var (
		reply    *amqp.Error
		verify   *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		alert    tls.AlertError
		fileName *fs.PathError
		op       *net.OpError
	)
	if errors.As(err, &reply) {
		if !reply.Server {
			return false
		}
		switch reply.Code {
		case amqp.AccessRefused, amqp.NotFound, amqp.ResourceLocked, amqp.PreconditionFailed, notAllowed:
			return true
		}
		return false
	}
	// A peer that refuses us sends an alert, which has no type of its own.
	if errors.As(err, &op) && op.Op == "remote error" {
		return true
	}
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &host) ||
		errors.As(err, &invalid) || errors.As(err, &alert) || errors.As(err, &fileName)
}

// replied reports whether the broker closed a channel or connection with code.
func replied(err error, code int) bool {
	var reply *amqp.Error
	return errors.As(err, &reply) && reply.Server && reply.Code == code
}

func isConfig(err error) bool { return errors.Is(err, broker.ErrConfig) }

// nobodyListens reports whether the host answered that its port is closed.
func nobodyListens(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
