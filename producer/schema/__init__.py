"""What others may rely on: the topics and their event types, described for any language.

`document` writes the description, in AsyncAPI 3 with a JSON Schema for each event type, from
the event classes themselves. It is kept beside each application. `changes` compares what is kept
with what the classes say now: what has been published stays in the topic for ever, and its readers
are deployed when they like, so that new programs must read old events and old programs new ones.
`command` is `eventsourcing-kafka producer schema`.
"""
