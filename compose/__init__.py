"""Puts both ends together: what may know the producers and the consumers.

`servers` are an embedded Kafka and Postgres for a laptop, `stack` is a whole pipeline on them;
`runner` has both ends in one process, as the library's runners have. `monitor` shows how far all
is, `audit` compares it, `security` says what each process may do, `web` shows it in a browser.
`leaders` finds the applications that views follow.
"""

if __name__ != "eventsourcing_kafka.compose":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.compose.")
