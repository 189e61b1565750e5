"""What every process needs, whatever it is for.

For loops: `retry` runs sessions until one ends, `prefetch` reads the next item meanwhile, `drain`
lets what is in flight finish. `errors` are those for operators. `postgres` connects, `construct`
and `applications` open applications of the library, `compat` is all that touches its insides, and
`secrets` are read out of files. `health` checks loops, `metrics` registers what they count, and
`metrics_server` serves both. Commands have `process` to run until a signal, `cli` and `output` for
their terminal, and `logs`. Nothing here knows of the outbox, of Kafka's topics, or of views.
"""
