package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// removeSQL takes away what the migrations have made. A role goes when nothing else in the server hangs on it.
const removeSQL = `-- warren: remove schema
DO $$
DECLARE
    r text;
BEGIN
    DROP SCHEMA IF EXISTS @schema@ CASCADE;
    FOREACH r IN ARRAY ARRAY['_owner', '_app', '_read'] LOOP
        BEGIN
            EXECUTE format('DROP ROLE IF EXISTS %I', @schema_text@ || r);
        EXCEPTION
            WHEN dependent_objects_still_exist OR insufficient_privilege OR object_in_use THEN NULL;
        END;
    END LOOP;
END $$`

const existsSQL = `-- warren: schema is there
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`

// Exists reports whether the schema is there, whoever made it and whatever is in it.
func (s *Store) Exists(ctx context.Context) (there bool, err error) {
	err = retried(ctx, func() error {
		return s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) error {
			return tx.QueryRow(ctx, existsSQL, s.schema).Scan(&there)
		})
	})
	if err != nil {
		return false, wrap("look for schema "+s.schema, err)
	}
	return there, nil
}

// Remove drops the schema of this store, with every job in it, and the roles that its migrations made unless another
// database uses them. It cannot be undone. It is for schemas that were made for a purpose that is over.
func (s *Store) Remove(ctx context.Context) error {
	err := retried(ctx, func() error {
		return s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, s.withSchema(removeSQL), pgx.QueryExecModeSimpleProtocol)
			return err
		})
	})
	if err != nil {
		return wrap("remove schema "+s.schema, err)
	}
	return nil
}
