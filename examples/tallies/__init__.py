"""How many aggregates an application has created, and how often they changed since."""
