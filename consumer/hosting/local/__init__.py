"""Followers that keep what they have in SQLite or in memory: each event is one transaction."""
