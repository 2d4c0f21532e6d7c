package web

import (
	_ "embed" // openapi.json
	"net/http"
)

// description is written by hand. Tests hold it against the routes and what they answer.
//
//go:embed openapi.json
var description []byte

func (h *handler) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", mediaJSON)
	_, _ = w.Write(description) // a client that goes away is nobody's error
	return nil
}
