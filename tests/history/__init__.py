"""A history of what every process did, and what must not be in it.

Writers log what they committed, relays what each Kafka transaction held, consumers what each view
transaction applied: before they do it, and again when they know the outcome. A process that is
killed leaves a beginning without an end: its outcome is unknown, and the checker takes either.
Operators' commands are logged, too, and are what permits a view to apply something again. At the
end the topic is read as any reader of what is committed would, and each view says where it stands.

`entries` is what there is in a log, `check` reads them all and names the anomalies, those of
Jepsen's workload for Kafka. Nothing here imports the product, its wire or its audit: it knows
four CloudEvents headers, and what "once, in order" means.
"""
