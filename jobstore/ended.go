package jobstore

import "time"

// KindEnded is what became of the jobs of a kind that ended within a period.
type KindEnded struct {
	Kind   string          `json:"kind"`
	States map[State]int64 `json:"states"` // every final state, zero included
	// Success is the share of FINISHED ones among those that were not called off: FINISHED, PERMANENTLY_FAILED and
	// QUARANTINED; nil when there are none.
	Success *float64 `json:"success,omitempty"`
	// MeanMS and MostMS are how long the last attempts took.
	MeanMS float64   `json:"mean_ms"`
	MostMS int64     `json:"most_ms"`
	Last   time.Time `json:"last_ended_at"`
}

// Add counts jobs of one more state.
func (k *KindEnded) Add(state State, n int64, meanMS float64, mostMS int64, last time.Time) {
	if k.States == nil {
		k.States = map[State]int64{}
		for _, s := range States() {
			if s.Final() {
				k.States[s] = 0
			}
		}
	}
	var before int64
	for _, c := range k.States {
		before += c
	}
	k.MeanMS = (k.MeanMS*float64(before) + meanMS*float64(n)) / float64(before+n)
	k.States[state] += n
	k.MostMS = max(k.MostMS, mostMS)
	if last.After(k.Last) {
		k.Last = last
	}
	if ran := k.States[Finished] + k.States[PermanentlyFailed] + k.States[Quarantined]; ran > 0 {
		k.Success = new(float64(k.States[Finished]) / float64(ran))
	}
}
