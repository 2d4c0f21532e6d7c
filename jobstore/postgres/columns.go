package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// columns are those of one row, read one after the other. The first mistake is kept. NULL reads as the zero value.
type columns struct {
	values [][]byte
	fields []pgconn.FieldDescription
	types  *pgtype.Map // for what is rare: arrays, and text from a connection that asks for no binary
	next   int
	err    error
}

func columnsOf(r pgx.Rows) columns {
	return columns{values: r.RawValues(), fields: r.FieldDescriptions(), types: r.Conn().TypeMap()}
}

type column struct {
	value []byte // nil = NULL
	field *pgconn.FieldDescription
}

func (c *columns) take() column {
	i := c.next
	c.next++
	return column{value: c.values[i], field: &c.fields[i]}
}

func (c *columns) isNull() bool { return c.values[c.next] == nil }

func (c *columns) text() []byte { return c.take().value }

// same is the column's text, in the memory of last where they are equal.
func (c *columns) same(last string) string {
	if v := c.text(); string(v) != last {
		return string(v)
	}
	return last
}

// int reads an integer of any size.
func (c *columns) int() int64 {
	col := c.take()
	if col.value == nil {
		return 0
	}
	if col.field.Format == pgx.BinaryFormatCode {
		switch len(col.value) {
		case 8:
			return int64(binary.BigEndian.Uint64(col.value)) //nolint:gosec // the bits of a signed number
		case 4:
			return int64(int32(binary.BigEndian.Uint32(col.value))) //nolint:gosec // the same
		case 2:
			return int64(int16(binary.BigEndian.Uint16(col.value))) //nolint:gosec // the same
		}
	}
	var n int64
	c.scan(col, &n)
	return n
}

func (c *columns) bool() (v bool) {
	col := c.take()
	if col.field.Format == pgx.BinaryFormatCode && len(col.value) == 1 {
		return col.value[0] == 1
	}
	c.scan(col, &v)
	return v
}

func (c *columns) optional() *int64 {
	if c.isNull() {
		c.next++
		return nil
	}
	return new(c.int())
}

// json reads a jsonb, which comes as its text unless somebody asks for something else.
func (c *columns) json() []byte {
	col := c.take()
	if col.value == nil {
		return nil
	}
	if col.field.Format == pgx.TextFormatCode {
		return bytes.Clone(col.value)
	}
	var v []byte
	c.scan(col, &v)
	return v
}

// epoch is what PostgreSQL counts microseconds from.
const epoch = 946_684_800 // 2000-01-01 in Unix seconds

// time reads a timestamptz. What has no end in either direction is as far as an int64 of microseconds goes.
func (c *columns) time() time.Time {
	col := c.take()
	if col.value == nil {
		return time.Time{}
	}
	if col.field.Format != pgx.BinaryFormatCode || len(col.value) != 8 {
		var t time.Time
		c.scan(col, &t)
		return t
	}
	us := int64(binary.BigEndian.Uint64(col.value)) //nolint:gosec // the bits of a signed number
	return time.Unix(epoch+us/1e6, us%1e6*1e3)
}

func (c *columns) scan(col column, into any) {
	if err := c.types.Scan(col.field.DataTypeOID, col.field.Format, col.value, into); err != nil && c.err == nil {
		c.err = fmt.Errorf("column %s: %w", col.field.Name, err)
	}
}
