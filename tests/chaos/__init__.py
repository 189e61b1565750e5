"""Everything at once, and broken on purpose: faults by a seeded schedule, then a reckoning.

`stage` puts real processes behind proxies, `faults` breaks them, `schedule` says when,
`reckoning` compares what is there at the end with what the writers wrote. Repeat a run with
`python -m tests.chaos --seed N`: the same faults at the same times, though never the same races.
"""
