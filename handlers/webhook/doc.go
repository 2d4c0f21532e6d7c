// Package webhook is a stock handler that POSTs each job to a URL.
//
// The body is one JSON object, and the job is done when the answer is 2xx:
//
//	POST /jobs HTTP/1.1
//	Content-Type: application/json
//	User-Agent: warren
//	Idempotency-Key: 7
//	Webhook-Id: 7
//	Webhook-Timestamp: 1767225600
//	Webhook-Signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=
//
//	{"id":7,"kind":"mail","args":{…},"attempt":1,"queue":"default","priority":10,"identifier":"","metadata":{}}
//
// The same job can be sent more than once, because an answer can be lost: its receiver keeps the
// Idempotency-Key, which is the job's number and the same for every attempt.
//
// The last two headers are there when there is a secret. They are those of Standard Webhooks
// (standardwebhooks.com), whose libraries check them: the signature is HMAC-SHA256 over
// "id.timestamp.body", in base64. The timestamp is when the attempt was made.
//
// # Outcome
//
//	answer                   the job
//	2xx                      is done; a JSON answer of at most 64 KiB is kept as its output
//	429 or 503, Retry-After  waits that long, without using up an attempt
//	408, 425, 429, 5xx       failed for now
//	3xx, any other 4xx       failed for good
//	none (network, timeout)  failed for now
//
// Retry-After may be a number of seconds or a date, which is read by this machine's clock; it
// counts as at least a second and at most a day. Redirects are not followed: the body and its signature were meant
// for the configured URL, and one that has moved is a thing to correct there.
//
// The error is the status and the first words of the answer, without the secrets that this
// package knows of and without the path of the URL. An answer of 2xx that breaks off after its
// status is a done job without an output. The attempt ends with its context.
package webhook
