"""Hosts the library's own classes, as they are: process applications, and both kinds of projection.

Their policies do their own reading and writing, through the library's recorders, so all that is
done with them is done in a worker thread (`threads`). In Postgres (`postgres`) a whole batch is one
transaction, with our tracking, guard and parking in it; what the policies record is collected in
memory (`collecting`) and inserted together. In SQLite and in memory (`local`) each event is
recorded with the library's own tracking. The applier is the engine's in each case.

Each edge of a system, a follower and a leader, is a view of its own (`edge`), and operators find it
by its name (`systems`).
"""
