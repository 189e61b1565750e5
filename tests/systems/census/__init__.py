"""Who lives: the aggregates of the everything application that are not discarded."""
