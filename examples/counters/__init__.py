"""How often each trick has been learnt at the dog school, counted event by event."""
