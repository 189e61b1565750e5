"""A game's write model: players, and the scores that they reach."""
