"""An explicit-state model of the chain from the relay through Kafka to a view.

The tests explore every order of steps and faults in a small scope, breadth first, and so find the
shortest story of what goes wrong, or that nothing does. `rules` has the rules, each of them a
switch; `kafka`, `relay` and `consumer` do what the rules say; `chain` puts them together, with the
faults, and says what must hold; `explore` searches. `make model` searches further than the tests.

What stands for what:

- One transactional id and three logs: two partitions of events, and the position topic. A commit
  writes its markers at once. One Produce carries one record.
- A request is sent, handled and answered in one step, unless a fault takes it. Then it was handled
  and its answer is lost, or it is late: handled at any time, or never.
- An epoch matters only as equal to the coordinator's or not, so what is stored is just that.
- An identity is the life of the write model that an event stems from: a write model that is
  restored gives the same positions to other events, in its next life.
- The view applies one record at a time, together with its tracking, so a crash of its consumer
  changes nothing. Its partitions don't touch one another: one of them is watched.
- The consumer only reads, and between losses the log that it reads only grows. So nothing is
  overlooked if it moves only right before a loss (as far as it likes), and when the relay rests.
- Who writes records that look like the relay's own, and link, with events that the write model
  has not, is believed by a view. No rule can tell; access to the topic has to.
"""
