"""What can go wrong with the stack, told to its user."""


class StackError(Exception):
    """Something in the way of the stack; the message says what it is and what to do."""
