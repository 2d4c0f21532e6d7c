// Package sdnotify tells systemd how a service is doing, for units of Type=notify.
package sdnotify

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Notifier writes to the socket that systemd has named. The zero value has none and says nothing.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// From reads what systemd has put into the environment of process pid.
func From(environ []string, pid int) Notifier {
	vars := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		vars[name] = value
	}
	n := Notifier{socket: vars["NOTIFY_SOCKET"]}
	if strings.HasPrefix(n.socket, "@") { // an abstract socket, whose name begins with a NUL
		n.socket = "\x00" + n.socket[1:]
	}
	us, err := strconv.ParseInt(vars["WATCHDOG_USEC"], 10, 64)
	if of := vars["WATCHDOG_PID"]; err == nil && us > 0 && (of == "" || of == strconv.Itoa(pid)) {
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n
}

// Active reports whether somebody listens.
func (n Notifier) Active() bool { return n.socket != "" }

// Run says that the service is ready, then feeds the watchdog, until ctx ends, for as long as alive
// returns nil: a process that stands still is restarted.
func (n Notifier) Run(ctx context.Context, alive func() error, log *zap.Logger) error {
	n.Say(ctx, "READY=1", log)
	if n.watchdog <= 0 || !n.Active() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.watchdog / 3)
	defer tick.Stop()
	for {
		if err := alive(); err != nil {
			log.Error("not alive; the watchdog gets no answer and will restart this process", zap.Error(err))
		} else {
			n.Say(ctx, "WATCHDOG=1", log)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Say sends one line. systemd may be slow or gone: that is no reason to stop working.
func (n Notifier) Say(ctx context.Context, line string, log *zap.Logger) {
	if !n.Active() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixgram", n.socket)
	if err == nil {
		deadline, _ := ctx.Deadline()
		_ = conn.SetWriteDeadline(deadline) // a socket that is open takes one
		_, err = conn.Write([]byte(line))
		_ = conn.Close() // everything has been written
	}
	if err != nil {
		log.Debug("could not tell systemd", zap.String("line", line), zap.Error(err))
	}
}
