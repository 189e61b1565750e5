"""The rules of the chain, each a switch, so that the tests can show what goes wrong without it.

Rules of the form "what is neither right nor a duplicate is said" can't be switched off: they are
what `chain` checks.

What the model has never needed: following links from R's anchor to the tail; watching the position
topic while idle; a certain place of R in its transaction; one AddPartitionsToTxn for all. The rule
of the epoch, for Produce and for all else, is no longer needed against silence once S1 to S5 are
kept: without it a record may be published whose predecessor is in no topic, and views stop there.
Without S1 to S5 it is all that stands between a lost answer and a silent loss.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rules:
    """What relay and consumer keep to. The defaults are the design."""

    guard: bool = True
    """The tracking moves only from exactly where this consumer last saw it."""

    predecessor: bool = True
    """C2: the next record is the one whose predecessor is T; else it is a break."""

    identity: bool = True
    """S3, C2, C3: events are the same if their position and their identity are."""

    epoch: bool = True
    """A request without an answer ends the producer: a new one, with a new epoch, goes on."""

    produce: bool = True
    """The same for Produce, which else is sent again, told by its sequence number."""

    end_open: bool = True
    """S1: what is open in any partition, not only the position's, is ended before it is read."""

    read_tails: bool = True
    """S2: the tail of a partition is read from it; else it is what R says."""

    highest: bool = True
    """S2: the tail is the own record of the highest position; else the last own one."""

    aged_out: bool = True
    """S2: a partition without own records that begins beyond R's record, and has had the marker
    behind it, has aged out: its tail is what R says."""

    write_model: bool = True
    """S3: the write model has the tails, at their positions, by identity; else it is refused."""

    per_partition: bool = True
    """S4: go on from the lowest position up to which a partition is complete, above its tail."""

    acknowledged: bool = True
    """S5: an acknowledgement below where the next record goes ends the session."""

    watch: bool = True
    """S5: while idle, an end below where the next record goes ends the session."""

    watch_record: bool = True
    """S5: and so does another record, or none, where the last one was."""

    other_instance: bool = True
    """Another relay has taken over if it wrote the last R; else the error says so."""

    foreign: bool = True
    """C1: what doesn't have our envelope, source, key and partition is foreign: parked."""

    first_found: bool = True
    """C3: of several records that are T, the first is; else the last."""

    stop_where_found: bool = True
    """C3: found where it was looked for, what follows is the break: the partition stops."""

    check_place: bool = True
    """C3: where nothing follows, the record at the tracked offset is T, or T is looked for."""

    before_successor: bool = True
    """C3: T is also found right before the record whose predecessor it is."""

    outbox: bool = True
    """C7: what was deleted before it was applied is read from the write model."""

    recorded_skip: bool = True
    """C5: what an operator's permission skips is recorded; and it never goes back."""

    note_first: bool = True
    """C6: a follower notes T before the library's transaction, and keeps the note before."""

    def without(self, *names: str) -> "Rules":
        """These rules, but for some."""
        return replace(self, **dict.fromkeys(names, False))
