"""A dog school's write model: dogs, and the tricks that they have learnt."""
