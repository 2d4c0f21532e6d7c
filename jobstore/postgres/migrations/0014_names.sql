-- What people call a consumer; its pool is a part of it. Nobody looks a consumer up by it.
ALTER TABLE @schema@.consumers ADD COLUMN name text NOT NULL DEFAULT '';
