"""What can go wrong with the stack, told to its user."""

from eventsourcing_kafka.producer.runtime.errors import OperatorError


class StackError(OperatorError):
    """Something in the way of the stack; the message says what it is and what to do."""
