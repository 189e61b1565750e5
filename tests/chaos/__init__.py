"""Everything at once, and broken on purpose: faults by a seeded schedule, then a reckoning.

`stage` puts real processes behind proxies, `faults` breaks them, `run` says when, `reckoning`
compares what is there at the end with what the writers wrote. All processes are `observed`: what
they log is checked with what a `witness` sees at the end, for what was wrong on the way and has
been put right since, by a rebuild for instance. Repeat a run with `python -m tests.chaos --seed N`:
the same faults at the same times, though never the same races.
"""
