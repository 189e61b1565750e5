"""Followers that keep what they have in Postgres."""
