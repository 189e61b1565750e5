"""Sample systems, each to learn one thing from."""
