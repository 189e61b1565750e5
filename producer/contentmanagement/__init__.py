"""A wiki's write model: pages whose bodies change by diffs, found by their slugs."""
