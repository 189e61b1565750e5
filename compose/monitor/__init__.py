"""All parts of a pipeline at once, as they stand."""
