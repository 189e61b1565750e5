"""What a stack runs when nothing else is said: the wiki, its views, and its pages."""

APPLICATION = "eventsourcing_kafka.producer.contentmanagement.application:ContentManagement"
"""What the commands of the write side are about, by the variable `APPLICATION_TOPIC`."""

VIEWS = ("fts", "activity")

DATABASES = {"CONTENTMANAGEMENT": "contentmanagement", "FTS": "fts", "ACTIVITY": "activity"}
"""A database for the write model and one for each view, by the prefix of their settings."""
