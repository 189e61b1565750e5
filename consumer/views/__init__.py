"""The views: each folder here that has a `VIEW` is one."""
