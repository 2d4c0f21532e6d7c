package warren

// createdByKey is where a job's metadata say for whom it was published.
const createdByKey = "created_by"

// createdBy writes down for whom the job is published.
func (i *Item) createdBy() error {
	if i.Opts.By == "" {
		return nil
	}
	if err := checkLabel("by", i.Opts.By); err != nil {
		return inField("by", err)
	}
	return i.AddMetadata(createdByKey, i.Opts.By)
}
