// Package model searches every state that one job, its hints and two consumers can reach, with faults
// at every point. It has tests only.
//
// The model is the protocol, not the code: each step names the statement or function that it stands
// for, and a test sees to it that these exist. What the search shows is that the protocol keeps its
// promises whatever the order of things; that the code does what the steps say is for the tests of
// the stores and for the suite that kills servers.
//
// Time is left out: a registration may expire as soon as its process is dead, frozen, or has fenced
// itself, which is all that the protocol's margins promise. Faults are bounded by a budget, and so is
// everything else, because only faults make the model do anything twice.
//
// A second, smaller model has two members of one serial group instead, because what makes a group serial
// is about them: the group's row, and who comes next. A claim and the sweep are two steps each there, a
// snapshot and what is found when the newest rows are locked.
//
// Mutants leave one mechanism out each. A search that finds nothing wrong with one of them would be
// worth nothing.
package model
