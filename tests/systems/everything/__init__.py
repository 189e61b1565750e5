"""Everything in one application.

A cluster of entities behind one aggregate root, events saved in batches and encrypted, conflicts
found, snapshots at regular intervals, aggregates discarded, and the past kept.
"""
