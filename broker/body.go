package broker

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// ParseBody reads the body of a hint: one or more numbers, each ASCII [1-9][0-9]* within int64,
// separated by single spaces, at most MaxNumbers of them in at most MaxBody bytes. Everything
// else is an error that names the byte where it goes wrong and never repeats the body, which may
// be anything of any size.
//
// The body comes from whoever may write to the broker, so the only allocation is the slice that
// is returned, and it is made only after the body has been found to be short enough.
func ParseBody(body []byte) ([]int64, error) {
	switch {
	case len(body) == 0:
		return nil, errors.New("the body is empty: want numbers separated by single spaces")
	case len(body) > MaxBody:
		return nil, fmt.Errorf("the body has more than %d bytes", MaxBody)
	}
	count := 1
	for _, c := range body {
		if c == ' ' {
			count++
		}
	}
	if count > MaxNumbers {
		return nil, fmt.Errorf("the body has %d numbers: at most %d are allowed", count, MaxNumbers)
	}
	numbers := make([]int64, 0, count)
	for at := 0; ; at++ { // at the first digit of a number
		n, end, err := parseNumber(body, at)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
		if end == len(body) {
			return numbers, nil
		}
		at = end // the space after it
	}
}

// parseNumber reads the number that begins at body[at] and ends at body[end], which is a space
// or the end of the body.
func parseNumber(body []byte, at int) (n int64, end int, err error) {
	if at == len(body) || body[at] < '1' || body[at] > '9' {
		return 0, 0, fmt.Errorf("byte %d of the body: want a digit from 1 to 9", at)
	}
	for end = at; end < len(body) && body[end] != ' '; end++ {
		c := body[end]
		if c < '0' || c > '9' {
			return 0, 0, fmt.Errorf("byte %d of the body: want a digit or a single space", end)
		}
		digit := int64(c - '0')
		if n > (math.MaxInt64-digit)/10 {
			return 0, 0, fmt.Errorf("byte %d of the body: the number is larger than %d", at, int64(math.MaxInt64))
		}
		n = n*10 + digit
	}
	return n, end, nil
}

// FormatBody writes numbers as ParseBody reads them. It refuses an empty slice, more than
// MaxNumbers and numbers below 1. MaxNumbers numbers of any size fit into MaxBody bytes.
func FormatBody(numbers []int64) ([]byte, error) {
	if len(numbers) == 0 {
		return nil, errors.New("a hint needs at least one number")
	}
	if len(numbers) > MaxNumbers {
		return nil, fmt.Errorf("a hint of %d numbers: at most %d are allowed, send several hints", len(numbers), MaxNumbers)
	}
	body := make([]byte, 0, 8*len(numbers))
	for i, n := range numbers {
		if n < 1 {
			return nil, fmt.Errorf("number %d (the %d. of the hint): numbers are at least 1", n, i+1)
		}
		if i > 0 {
			body = append(body, ' ')
		}
		body = strconv.AppendInt(body, n, 10)
	}
	return body, nil
}
