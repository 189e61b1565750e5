"""What operators do to a view, and what they see of it."""
