"""The three best players of the game, in an event-sourced table."""
