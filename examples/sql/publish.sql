-- Take an order and publish its receipt in one transaction: both are there, or neither.
--
--	psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -v order=17 -f publish.sql
--
-- It may be run twice: an order that is there already is not taken again and gets no second receipt.
BEGIN;

CREATE TABLE IF NOT EXISTS example_orders (
    id       bigint      PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT now()
);

WITH taken AS (
    INSERT INTO example_orders (id) VALUES (:order) ON CONFLICT DO NOTHING RETURNING id
)
SELECT warren.enqueue('receipt', jsonb_build_object('order', id), identifier => 'receipt-' || id) AS job FROM taken;

COMMIT;
