-- What people call a consumer; its pool is a part of it. Nobody looks a consumer up by it.
ALTER TABLE warren_consumers ADD COLUMN name TEXT NOT NULL DEFAULT '';
