"""The events of `eventsourcing` applications, streamed through Kafka into views, exactly once.

`producer` is the way in, `consumer` the way out, and `compose` puts them together; `testing` is a
kit for the tests of what is made with them. In the checkout they lie at its top, and are linked to
from here, so that this is their one importable name.
"""
