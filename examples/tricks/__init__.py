"""The tricks of the dog school in a materialised view: POPO, SQLite or Postgres.

The same counts as in `examples.counters`, in rows that can be queried rather than in aggregates.
"""
