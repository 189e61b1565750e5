"""What is asked before something is changed, and said after: on a terminal, and in a browser."""

from __future__ import annotations

from collections.abc import Mapping

from eventsourcing_kafka.consumer.engine.parking import Listed, Parked
from eventsourcing_kafka.consumer.operations.as_of import AsOf
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.printable import printable


def may_replay(view: str, records: Mapping[int, int]) -> str:
    """Ask whether the records of some partitions are to be applied again."""
    return f"Apply {counted(records)} to {view} again, from an empty view?"


def counted(records: Mapping[int, int]) -> str:
    """Tell how many records there are in how many partitions."""
    return f"{sum(records.values())} records of {len(records)} partitions"


def replayed(view: str, records: Mapping[int, int]) -> str:
    """Say what follows from a replay."""
    return f"{view}: {counted(records)} are applied again by its consumers"


def may_replay_aggregate(view: str, aggregate: str, events: int) -> str:
    """Ask whether an aggregate is to be made again."""
    return f"Remove {aggregate} from {view}, and apply its {events} events again?"


def replayed_aggregate(view: str, aggregate: str, events: int, parked: int) -> str:
    """Say that it was made again."""
    mended = f", of which {parked} were parked" if parked else ""
    return f"{view}: {events} events of {aggregate} are applied again{mended}"


def may_rebuild(view: str) -> str:
    """Ask whether the generation that is active now may go."""
    return f"Remove the present generation of {view} after the swap?"


def rebuilt(view: str) -> str:
    """Say that a rebuild has come to its end."""
    return f"{view}: the new generation is active"


def may_swap_though_different(view: str) -> str:
    """Ask whether to swap, though the generations are not equal."""
    return f"Make the new generation of {view} the active one, though it is different?"


def not_swapped(view: str) -> str:
    """Say that a rebuild has not put the new generation in place."""
    return (
        f"{view}: the present generation stays. The other one may be looked at, in the schema that "
        "ends with _next; the next rebuild makes it anew"
    )


def may_swap_back(view: str) -> str:
    """Ask whether to return to the kept generation."""
    return f"Make the kept generation of {view} the active one?"


def swapped_back(view: str) -> str:
    """Say that it was returned to."""
    return f"{view}: the kept generation is active again; the other one is kept"


def made_as_of(view: View, found: AsOf) -> str:
    """Say what a view as it was is called, how it is read, and what it lacks."""
    said = (
        f"{view.name} as it was at position {found.position} is in {found.schema}: read that, or "
        f"set {view.name.upper()}_POSTGRES_SCHEMA={found.schema}. It stays until: "
        f"eventsourcing-kafka consumer rebuild {view.arguments} --drop {found.schema}"
    )
    if not found.parked:
        return said
    reasons = "; ".join(map(parked_because, found.first_parked))
    return f"{said}\n{found.parked} of its events could not be applied, and are parked: {reasons}"


def described_as_of(found: AsOf) -> str:
    """Tell in short what a schema is that a view as it was is in."""
    lacking = "" if found.is_whole else ", as far as it is filled"
    return f"as it was at position {found.position}{lacking}"


def parked_because(event: Listed) -> str:
    """Tell which event is parked, and why."""
    named = event.type or "an event"
    return printable(f"{named} of {event.originator_id}: {event.reason}")


def may_drop_as_of(view: str, schema: str) -> str:
    """Ask whether a view as it was may go."""
    return f"Drop {schema}, which is {view} as it was?"


def dropped_as_of(view: str, schema: str) -> str:
    """Say that a view as it was is gone."""
    return f"{view}: {schema} is dropped"


def none_as_of(view: View) -> str:
    """Say that there is no view as it was, and how one is made."""
    return (
        f"There is no {view.name} as it was. To make one: "
        f"eventsourcing-kafka consumer rebuild {view.arguments} --until POSITION"
    )


def may_drop(view: str, event: Parked) -> str:
    """Ask whether an event is to be given up."""
    return f"Give up {event.type} of {event.originator_id} in {view}, for ever?"


def dropped(view: View, event_id: int) -> str:
    """Say that an event is given up, and what is not."""
    return (
        f"event {event_id} is dropped; those behind it wait for: "
        f"eventsourcing-kafka consumer parked retry --view {view.arguments} --all"
    )


def retried(originator_id: str, applied: int) -> str:
    """Say how many events of an aggregate are applied now."""
    return f"{originator_id}: {applied} applied"
