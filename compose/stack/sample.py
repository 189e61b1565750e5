"""What a stack runs when nothing else is said: the wiki, its views, and its pages."""

from eventsourcing_kafka.producer.runtime.pipeline import Application, Pipeline, View

APPLICATION = "eventsourcing_kafka.producer.contentmanagement.application:ContentManagement"

SAMPLE = Pipeline(
    applications={"ContentManagement": Application(at=APPLICATION)},
    views={"fts": View(), "activity": View()},
)

DATABASES = {"CONTENTMANAGEMENT": "contentmanagement", "FTS": "fts", "ACTIVITY": "activity"}
"""A database for the write model and one for each view, by the prefix of their settings."""
