package warren

import (
	"context"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// CompleteTx makes the job that a handler runs FINISHED inside of the handler's own transaction, so that what the
// handler wrote and that it is done are committed together, or neither. It is called with the handler's context
// and a transaction on the database of the jobs, made by postgres.Tx, sqlite.Tx or Client.InTx, as the last thing
// before its commit; the handler then returns nil.
//
// The output and metadata that were set before are recorded. After the commit whatever the handler returns, and
// whatever becomes of its process, changes nothing any more; an error is in the log and the events only. When
// the transaction is rolled back, or its commit fails, nothing has happened, and the handler's answer counts as
// ever; so return the error of the commit.
//
// It fails with ErrLeaseLost when the job may run elsewhere already: roll back then.
func CompleteTx(ctx context.Context, tx jobstore.Tx) error {
	return worker.ScopeOf(ctx).CompleteTx(ctx, tx)
}
