"""The way out of Kafka, and the read side: views that are right whatever happens on the way.

At the top is what the author of a view writes against: `view` says what defines one,
`unit_of_work` what its policy reads and writes, `audit` how its rows are compared with the events.

- `engine` keeps any view up to date. `subscription` reads batches, in one group for each view;
  `consumer` is the loop, and `work_queue` shares its work among connections; `applying` puts a
  batch and its tracking into one transaction; `tracking` is the guard, `parking` what can't be
  applied; `store` is where a view is kept, and `protocol` what any such place must be able to do.
- `operations` is what operators see and do: status, health, replay, rebuild, redrive; its
  `commands` are the command line.
- `hosting` has the library's own classes follow, as they are.
- `views` are the examples' views, found by their folders.
"""

if __name__ != "eventsourcing_kafka.consumer":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.consumer.")
