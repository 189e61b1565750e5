"""The activity view: who changed which page when, and how often.

Its counters are updated by addition. So an event that is lost or applied twice shows for ever,
and that makes it the view to test a pipeline with.
"""

from eventsourcing_kafka.consumer.views.activity.view import VIEW

__all__ = ["VIEW"]
