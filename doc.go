// Package warren runs background jobs for services that already have PostgreSQL and RabbitMQ,
// and for small ones that have neither.
//
// Your jobs live in PostgreSQL. RabbitMQ only carries their numbers.
package warren
