"""A persistence module of the library for Cassandra: the extra `cassandra`.

    PERSISTENCE_MODULE=eventsourcing_kafka.producer.cassandra

How positions are given out, what that costs, and what happens when a client stops between any two
statements is on a page, `docs/CASSANDRA.md`. `datastore` connects; `saves` is the one order of all
that is saved; `recorders` are the library's recorders on it.
"""

from __future__ import annotations

from eventsourcing_kafka.producer.cassandra.factory import CassandraFactory

__all__ = ["CassandraFactory"]
