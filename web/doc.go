// Package web is Warren's HTTP API: an http.Handler that mounts anywhere and asks its Backend for
// what it needs. docs/http.md describes it for its users; openapi.json, for programs.
//
//	mux.Handle("/api/", web.New(web.Config{Backend: backend, Token: token}))
//
// The handler answers /api/v1/…. It checks who asks and what is asked; it does not listen, and it
// does not limit connections or slow clients: that is the business of whoever has the listener.
package web
