"""The errors that end a command with a message for an operator."""

from __future__ import annotations


class OperatorError(Exception):
    """Nothing but a person can settle it. Its text says what is wrong, and what to do."""


class SettingsError(OperatorError, ValueError):
    """A setting, or what a command was given, is wrong."""
