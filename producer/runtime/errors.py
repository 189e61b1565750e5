"""What only a person can settle."""

from __future__ import annotations


class OperatorError(Exception):
    """What only a person can settle. Its text says what is wrong, and what to do."""


class SettingsError(OperatorError, ValueError):
    """A setting, or what a command was given, is wrong."""
