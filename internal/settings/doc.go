// Package settings is the arithmetic of a kind's settings: what the program has, what operators have set on top of
// it, and which values are possible. It knows no database.
package settings
