"""A shop as somebody else has it: the tests copy it to where nothing of ours is."""
