"""The audit: write models, their topics and their views, compared position by position.

`write_model` reads the stored events with statements of its own, so that an error of the outbox
is not shared. `topic` reads the records, all partitions beside each other in the order of
positions, and compares each with what the wire format makes of its notification. `views` compares
the trackings with the topic, and the rows with what follows from the events up to the tracked
positions; what follows is known to each view, in the `audit` of its folder. Of a system's followers
the trackings alone are compared. `report` is what is found, `kept` keeps it for others.

All of it may run meanwhile: positions and snapshots are taken first, and compared up to them.
"""

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.audit.report import Fault, Finding, Report, TopicReport, ViewReport

__all__ = ["Fault", "Finding", "Report", "TopicReport", "ViewReport", "audit"]
