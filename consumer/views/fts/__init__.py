"""The search view: every page of the wiki as it is now, and an index over title, slug and body.

`policy` is written once. The library's runners apply it in `FtsProcess` (`application`, with
the recorders in `postgres` and `sqlite`), the async consumer in the unit of work of `view`.
"""

from eventsourcing_kafka.consumer.views.fts.view import VIEW

__all__ = ["VIEW"]
