package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/schedule"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The ticks after an instant, on the clocks of a place.
func TestTimes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		d     schedule.Definition
		after string
		want  []string
	}{
		{
			"every day",
			schedule.Definition{Cron: "30 3 * * *", Zone: "Europe/Berlin"},
			"2026-06-01T00:00:00Z",
			[]string{"2026-06-01T01:30:00Z", "2026-06-02T01:30:00Z"},
		},
		{"the tick itself is not after itself", schedule.Definition{Cron: "30 3 * * *"}, "2026-06-01T03:30:00Z", []string{"2026-06-02T03:30:00Z"}},
		{
			"names, steps, lists",
			schedule.Definition{Cron: "*/20 8-9 * JUN mon,WED"},
			"2026-06-01T09:30:00Z",
			[]string{"2026-06-01T09:40:00Z", "2026-06-03T08:00:00Z"},
		},
		{
			"day of month or day of week, as crontab has it",
			schedule.Definition{Cron: "0 0 13 * FRI"},
			"2026-06-05T00:00:00Z",
			[]string{"2026-06-12T00:00:00Z", "2026-06-13T00:00:00Z"},
		},
		{"the last day", schedule.Definition{Cron: "0 0 L * *"}, "2028-02-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{"eight years", schedule.Definition{Cron: "0 0 29 2 *"}, "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"a descriptor", schedule.Definition{Cron: "@daily", Zone: "America/New_York"}, "2026-06-01T00:00:00Z", []string{"2026-06-01T04:00:00Z"}},

		{
			"set forward: right after the gap, once",
			schedule.Definition{Cron: "30 2 * * *", Zone: "Europe/Berlin"},
			"2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		},
		{
			"set forward: many ticks in the gap are one",
			schedule.Definition{Cron: "*/20 2 * * *", Zone: "Europe/Berlin"},
			"2026-03-28T01:30:00Z",
			[]string{"2026-03-28T01:40:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		},
		{
			"set forward: the gap's end is a tick",
			schedule.Definition{Cron: "0 2,3 * * *", Zone: "Europe/Berlin"},
			"2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		},
		{
			"set back: once, the first time",
			schedule.Definition{Cron: "30 2 * * *", Zone: "Europe/Berlin"},
			"2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		{
			"set back: asked in between",
			schedule.Definition{Cron: "30 2 * * *", Zone: "Europe/Berlin"},
			"2026-10-25T01:10:00Z",
			[]string{"2026-10-26T01:30:00Z"},
		},
		{
			"set back: right after the repeated hour",
			schedule.Definition{Cron: "0 1,3 * * *", Zone: "Europe/Berlin"},
			"2026-10-24T23:30:00Z",
			[]string{"2026-10-25T02:00:00Z", "2026-10-26T00:00:00Z"},
		},
		{
			"every quarter of an hour goes on when set back",
			schedule.Definition{Cron: "*/30 * * * *", Zone: "Europe/Berlin"},
			"2026-10-25T00:10:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"},
		},
		{
			"every hour goes on when set forward",
			schedule.Definition{Cron: "30 * * * *", Zone: "Europe/Berlin"},
			"2026-03-29T00:00:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
		},
		{
			"half an hour",
			schedule.Definition{Cron: "15 2 * * *", Zone: "Australia/Lord_Howe"},
			"2026-10-03T12:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"},
		},
		{
			"a day that did not exist",
			schedule.Definition{Cron: "0 12 * * *", Zone: "Pacific/Apia"},
			"2011-12-29T12:00:00Z",
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"},
		},
		{
			"midnight does not exist",
			schedule.Definition{Cron: "0 0 * * *", Zone: "Africa/Cairo"},
			"2026-04-23T12:00:00Z",
			[]string{"2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
		},

		{
			"every",
			schedule.Definition{Every: schedule.Duration(15 * time.Minute)},
			"2026-06-01T10:07:01Z",
			[]string{"2026-06-01T10:15:00Z", "2026-06-01T10:30:00Z"},
		},
		{"every second", schedule.Definition{Every: schedule.Duration(time.Second)}, "2026-06-01T10:07:01.5Z", []string{"2026-06-01T10:07:02Z"}},
		{
			"a window",
			schedule.Definition{Every: schedule.Duration(15 * time.Minute), From: "05:00", To: "23:00", Zone: "Europe/Berlin"},
			"2026-06-01T20:30:00Z",
			[]string{"2026-06-01T20:45:00Z", "2026-06-01T21:00:00Z", "2026-06-02T03:00:00Z", "2026-06-02T03:15:00Z"},
		},
		{
			"a window whose end is not met",
			schedule.Definition{Every: schedule.Duration(40 * time.Minute), From: "05:00", To: "06:00"},
			"2026-06-01T00:00:00Z",
			[]string{"2026-06-01T05:00:00Z", "2026-06-01T05:40:00Z", "2026-06-02T05:00:00Z"},
		},
		{
			"a window of one time is set back once",
			schedule.Definition{Every: schedule.Duration(time.Hour), From: "02:30", To: "02:30", Zone: "Europe/Berlin"},
			"2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		{
			"a window goes on evenly when set back",
			schedule.Definition{Every: schedule.Duration(time.Hour), From: "01:00", To: "04:00", Zone: "Europe/Berlin"},
			"2026-10-24T22:30:00Z",
			[]string{"2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z", "2026-10-26T00:00:00Z"},
		},
		{"once", schedule.Definition{Once: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}, "2026-05-01T00:00:00Z", []string{"2026-06-01T00:00:00Z", ""}},
		{"manual", schedule.Definition{Manual: true}, "2026-05-01T00:00:00Z", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			times, err := c.d.Times()
			if err != nil {
				t.Fatal(err)
			}
			last := at(t, c.after)
			for i, want := range c.want {
				got := times.Next(last)
				switch {
				case want == "" && got.IsZero():
				case want == "" || !got.Equal(at(t, want)):
					t.Fatalf("tick %d is %s, want %s", i+1, got.UTC().Format(time.RFC3339), want)
				}
				last = got
			}
		})
	}
}

// A year of any cron in any zone: each tick is later than the one before, no wall clock time is
// shown twice by one that is not steady, and every day has its tick.
func TestADayHasItsTickInEveryZone(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Gaza", "Africa/Casablanca", "Antarctica/Troll"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, hour := range []string{"0", "1", "2", "3", "23"} {
			d := schedule.Definition{Cron: "30 " + hour + " * * *", Zone: zone}
			times, err := d.Times()
			if err != nil {
				t.Fatal(err)
			}
			tick, days := time.Date(2026, 1, 1, 0, 0, 0, 0, loc).Add(-time.Second), map[string]int{}
			for end := tick.AddDate(1, 0, 0); ; {
				next := times.Next(tick)
				if !next.After(tick) {
					t.Fatalf("%s %s: after %s comes %s", zone, d.Cron, tick, next)
				}
				if tick = next; tick.After(end) {
					break
				}
				days[tick.In(loc).Format(time.DateOnly)]++
			}
			if len(days) != 365 {
				t.Errorf("%s %s: %d days have a tick, want 365", zone, d.Cron, len(days))
			}
			for day, n := range days {
				if n != 1 {
					t.Errorf("%s %s: %d ticks on %s", zone, d.Cron, n, day)
				}
			}
		}
	}
}

// What cannot be meant is refused with the value and what would be right.
func TestBadDefinitions(t *testing.T) {
	t.Parallel()
	quarter := schedule.Duration(15 * time.Minute)
	for want, d := range map[string]schedule.Definition{
		"in one way when it runs, and this one in 0":          {},
		"in one way when it runs, and this one in 2":          {Cron: "* * * * *", Every: quarter},
		`cron "* * * *": `:                                    {Cron: "* * * *"},
		"five fields: minute hour":                            {Cron: "* * * * * *"},
		`cron "61 * * * *": `:                                 {Cron: "61 * * * *"},
		`cron "nonsense": `:                                   {Cron: "nonsense"},
		`is no time on a clock; give it as every`:             {Cron: "@every 5m"},
		"give it as the schedule's zone":                      {Cron: "TZ=Europe/Berlin 0 3 * * *"},
		"is there such a day?":                                {Cron: "0 0 30 2 *"},
		"has 10000 bytes; at most 255":                        {Cron: strings.Repeat("1", 10000)},
		`zone "Mars/Olympus" is not known here`:               {Cron: "* * * * *", Zone: "Mars/Olympus"},
		`zone "../../etc/passwd" is not known here`:           {Cron: "* * * * *", Zone: "../../etc/passwd"},
		`zone "Local" is another one on each machine`:         {Cron: "* * * * *", Zone: "Local"},
		`zone "UTC" has nothing to say`:                       {Every: quarter, Zone: "UTC"},
		"every -1s is shorter than 1s":                        {Every: schedule.Duration(-time.Second)},
		"every 500ms is shorter than 1s":                      {Every: schedule.Duration(500 * time.Millisecond)},
		"every 1.5s is no whole number of seconds":            {Every: schedule.Duration(1500 * time.Millisecond)},
		"is longer than ten years":                            {Every: schedule.Duration(200 * 365 * 24 * time.Hour)},
		"the window from 23:00 to 05:00 ends before it":       {Every: quarter, From: "23:00", To: "05:00"},
		`to "" is not a time of day`:                          {Every: quarter, From: "23:00"},
		`from "5:00" is not a time of day; write one such as`: {Every: quarter, From: "5:00", To: "23:00"},
		`to "24:00" is not a time of day`:                     {Every: quarter, From: "05:00", To: "24:00"},
		"needs every: how often inside of it":                 {Cron: "* * * * *", From: "05:00", To: "06:00"},
		"is outside of the years 1970 to 9998":                {Once: time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)},
		"jitter -1s is negative":                              {Every: quarter, Jitter: schedule.Duration(-time.Second)},
		"jitter 25h0m0s is more than 24h":                     {Cron: "@daily", Jitter: schedule.Duration(25 * time.Hour)},
		"jitter 15m0s is not shorter than every 15m0s":        {Every: quarter, Jitter: quarter},
		"catch-up -1 is not from 0 to 1000":                   {Every: quarter, CatchUp: -1},
		"catch-up 1001 is not from 0 to 1000":                 {Every: quarter, CatchUp: 1001},
		"metadata of a schedule must be a JSON object":        {Every: quarter, Metadata: []byte("[1]")},
	} {
		if err := d.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	good := schedule.Definition{Cron: "*/5 * * * *", Jitter: schedule.Duration(time.Minute), CatchUp: 1000}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", " ", "a b", strings.Repeat("n", 10<<10), "-a", "ä"} {
		if err := schedule.CheckName(name); err == nil || len(err.Error()) > 400 {
			t.Errorf("name %.40q: %v", name, err)
		}
	}
	if err := schedule.CheckName("report:daily/eu-1"); err != nil {
		t.Error(err)
	}
}
