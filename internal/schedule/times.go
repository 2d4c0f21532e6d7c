package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// Times are the ticks of a definition.
type Times interface {
	// Next is the first tick after an instant; the zero time when there is none.
	Next(after time.Time) time.Time
}

// Times reads when a definition runs. Its errors name the value and what would be right.
func (d *Definition) Times() (Times, error) {
	ways := 0
	for _, given := range []bool{d.Cron != "", d.Every != 0, !d.Once.IsZero(), d.Manual} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return nil, fmt.Errorf("a schedule says in one way when it runs, and this one in %d; give one of cron, every, once and manual", ways)
	}
	if (d.From != "" || d.To != "") && d.Every == 0 {
		return nil, errors.New("a window, from and to, needs every: how often inside of it")
	}
	if zoneless := d.Cron == "" && d.From == ""; d.Zone != "" && zoneless {
		return nil, fmt.Errorf("zone %.100q has nothing to say: only cron and windows go by a clock on the wall", d.Zone)
	}
	switch {
	case d.Cron != "":
		return cronTimes(d.Cron, d.Zone)
	case d.Every != 0:
		return d.everyTimes()
	case d.Manual:
		return never{}, nil
	}
	if y := d.Once.Year(); y < 1970 || y > 9998 {
		return nil, fmt.Errorf("once %s is outside of the years 1970 to 9998", d.Once.Format(time.RFC3339))
	}
	return once{d.Once.Truncate(time.Millisecond)}, nil // as every database keeps it, so that it is not after itself
}

// location finds a time zone. The machine's own has no name that means the same elsewhere.
func location(zone string) (*time.Location, error) {
	if zone == "Local" {
		return nil, errors.New(`zone "Local" is another one on each machine; name one such as Europe/Berlin`)
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("zone %.100q is not known here; use a name of the IANA database, such as Europe/Berlin or UTC", zone)
	}
	return loc, nil
}

type never struct{}

func (never) Next(time.Time) time.Time { return time.Time{} }

type once struct{ at time.Time }

func (o once) Next(after time.Time) time.Time {
	if o.at.After(after) {
		return o.at
	}
	return time.Time{}
}

// steady ticks at the multiples of a period since 1970, so that all processes agree, and an edit of
// anything else moves no tick.
type steady struct{ every int64 } // seconds

func (s steady) Next(after time.Time) time.Time {
	n := after.Unix()
	return time.Unix(n-n%s.every+s.every, 0).UTC()
}

func (d *Definition) everyTimes() (Times, error) {
	every := time.Duration(d.Every)
	switch {
	case every < shortest:
		return nil, fmt.Errorf("every %s is shorter than %s", every, shortest)
	case every > longest:
		return nil, fmt.Errorf("every %s is longer than ten years", every)
	case every%time.Second != 0:
		return nil, fmt.Errorf("every %s is no whole number of seconds", every)
	case d.From == "" && d.To == "":
		return steady{int64(every / time.Second)}, nil
	}
	w := window{every: every}
	var err error
	if w.from, err = clock("from", d.From); err != nil {
		return nil, err
	}
	if w.to, err = clock("to", d.To); err != nil {
		return nil, err
	}
	if w.to < w.from {
		return nil, fmt.Errorf("the window from %s to %s ends before it begins; one that spans midnight is two schedules, or a cron", d.From, d.To)
	}
	loc, err := location(d.Zone)
	if err != nil {
		return nil, err
	}
	return zoned{loc: loc, cal: w, steady: w.to-w.from >= w.every}, nil
}

// clock reads a time of day.
func clock(what, s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("%s %.40q is not a time of day; write one such as 05:00 (00:00 to 23:59)", what, s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// calendar has ticks on a wall clock that is never changed. Times of it are written as if they were UTC.
type calendar interface {
	// first is the first tick at a time or later; the zero time when there is none.
	first(wall time.Time) time.Time
}

// window ticks each day from a time on, at most until another.
type window struct{ every, from, to time.Duration }

func (w window) first(wall time.Time) time.Time {
	day := wall.Truncate(24 * time.Hour)
	at := w.from
	if gone := wall.Sub(day) - w.from; gone > 0 {
		if over := gone % w.every; over > 0 {
			gone += w.every - over
		}
		at += gone
	}
	if at > w.to {
		day, at = day.Add(24*time.Hour), w.from
	}
	return day.Add(at)
}

// maxCron is how many bytes a cron expression may have.
const maxCron = 255

// searchYears is how far a cron expression is searched for its next time: 29 February may be eight
// years away.
const searchYears = 30

type cronCalendar struct{ spec *cron.SpecSchedule }

func (c cronCalendar) first(wall time.Time) time.Time { return c.spec.Next(wall.Add(-1)) }

func cronTimes(text, zone string) (Times, error) {
	if len(text) > maxCron {
		return nil, fmt.Errorf("cron %.40q… has %d bytes; at most %d are allowed", text, len(text), maxCron)
	}
	if strings.Contains(text, "TZ=") {
		return nil, fmt.Errorf("cron %q has a time zone in it; give it as the schedule's zone", text)
	}
	const fields = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.Extended | cron.DowOrDom
	parser, err := cron.TryNewParser(fields)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.WithMaxSearchYears(searchYears).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w; it has five fields: minute hour day-of-month month day-of-week", text, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok { // @every
		return nil, fmt.Errorf("cron %q is no time on a clock; give it as every", text)
	}
	loc, err := location(zone)
	if err != nil {
		return nil, err
	}
	spec.Location = time.UTC
	const allHours = 1<<24 - 1
	z := zoned{loc: loc, cal: cronCalendar{spec}, steady: spec.Hour&allHours == allHours}
	if z.cal.first(time.Unix(0, 0).UTC()).IsZero() {
		return nil, fmt.Errorf("cron %q has no time in %d years; is there such a day?", text, searchYears)
	}
	return z, nil
}

// zoned puts a calendar on the clocks of a place, which are changed now and then.
//
// When they are set forward, the ticks that they pass over are one tick, right after the change. When they
// are set back, what has ticked does not tick again. A steady calendar, which ticks in every hour or
// again and again inside of a window, goes on evenly instead: it ticks when the clocks show its times.
type zoned struct {
	loc    *time.Location
	cal    calendar
	steady bool
}

func (z zoned) Next(after time.Time) time.Time {
	from := after.Add(1) // the first instant that counts
	for {
		begin, end := from.In(z.loc).ZoneBounds()
		off := z.offset(from)
		if again := z.repeatedUntil(begin, off); !z.steady && from.Before(again) {
			from = again
		}
		wall := z.cal.first(from.Add(off).UTC())
		if wall.IsZero() {
			return time.Time{}
		}
		at := wall.Add(-off)
		if end.IsZero() || at.Before(end) {
			return at
		}
		if off := z.offset(end); !z.steady && wall.Before(end.Add(off).UTC()) {
			return end.UTC()
		}
		from = end
	}
}

// offset is what a clock is ahead of UTC at an instant.
func (z zoned) offset(at time.Time) time.Duration {
	_, seconds := at.In(z.loc).Zone()
	return time.Duration(seconds) * time.Second
}

// repeatedUntil is when clocks that were set back at begin show times that they have not shown before.
func (z zoned) repeatedUntil(begin time.Time, off time.Duration) time.Time {
	if begin.IsZero() {
		return begin
	}
	return begin.Add(z.offset(begin.Add(-1)) - off)
}
