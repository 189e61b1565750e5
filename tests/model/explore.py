"""Explore all that can happen, breadth first, so that the story of what goes wrong is the shortest.

States are known by their hashes: a hash of 64 bits that two states share would hide one of them,
which for a million states has a chance of one in ten million.
"""

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .chain import DEAD_END, Scope, State, Wrong, starts, steps, wrong_at_once, wrong_at_rest
from .rules import Rules

Progress = Callable[[int, int], None]
"""Is told the number of states so far, and how many steps they are from the start."""


@dataclass
class Explored:
    """What an exploration has found."""

    states: int = 0
    depth: int = 0
    wrong: Wrong | None = None
    story: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The verdict, and the story of what is wrong."""
        verdict = f"{self.wrong.kind}: {self.wrong.details}" if self.wrong else "holds"
        lines = [f"{verdict} ({self.states} states, depth {self.depth})", *self.story]
        return "\n    ".join(lines)


class Exploration:
    """The states found so far, and how each was come to."""

    def __init__(self, rules: Rules, scope: Scope) -> None:
        self.rules, self.scope = rules, scope
        self.numbers: dict[int, int] = {}
        self.parents, self.choices, self.depths = array("q"), array("H"), array("H")
        self.queue: deque[tuple[int, State]] = deque()
        self.first: list[State] = []
        self.sources, self.targets = array("q"), array("q")
        self.rests: list[int] = []

    def run(self, progress: Progress | None = None) -> Explored:
        """Explore until something is wrong, or everything has been seen."""
        for state in starts(self.scope):
            self.first.append(state)
            self.add(state, -1, 0)
        while self.queue:
            number, state = self.queue.popleft()
            if wrong := self.visit(number, state):
                return self.explored(number, wrong)
            if progress and number % 10_000 == 0:
                progress(len(self.parents), self.depths[number])
        dead_end = self.dead_end()
        if dead_end is not None:
            return self.explored(dead_end, Wrong(DEAD_END))
        return self.explored(len(self.parents) - 1, None)

    def visit(self, number: int, state: State) -> Wrong | None:
        """Judge a state, and find the ones behind it."""
        if wrong := wrong_at_once(self.scope, state):
            return wrong
        rests = True
        for choice, step in enumerate(steps(self.rules, self.scope, state)):
            target = self.add(step.state, number, choice)
            if not step.fault:
                rests = False
                self.sources.append(number)
                self.targets.append(target)
        if rests:
            self.rests.append(number)
            return wrong_at_rest(self.rules, self.scope, state)
        return None

    def add(self, state: State, source: int, choice: int) -> int:
        """Number a state; a new one is to be visited."""
        key = hash(state)
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.parents)
            self.parents.append(source)
            self.choices.append(choice)
            self.depths.append(self.depths[source] + 1 if source >= 0 else 0)
            self.queue.append((number, state))
        return number

    def dead_end(self) -> int | None:
        """The first state from which, without further faults, no rest can be come to."""
        alive = bytearray(len(self.parents))
        for number in self.rests:
            alive[number] = 1
        grew = True
        while grew:  # most steps lead to a higher number, so few rounds do
            grew = False
            for edge in range(len(self.sources) - 1, -1, -1):
                source = self.sources[edge]
                if not alive[source] and alive[self.targets[edge]]:
                    alive[source] = 1
                    grew = True
        dead = alive.find(0)
        return None if dead < 0 else dead

    def explored(self, number: int, wrong: Wrong | None) -> Explored:
        """What was found, with the story of what is wrong."""
        depth = self.depths[number] if self.depths else 0
        story = self.story(number) if wrong else []
        return Explored(len(self.parents), depth, wrong, story)

    def story(self, number: int) -> list[str]:
        """How a state was come to."""
        path = []
        while self.parents[number] >= 0:
            path.append(self.choices[number])
            number = self.parents[number]
        state = self.first[number]
        lines = [f"the write model has {', '.join(map(str, state.write_model))}"]
        for choice in reversed(path):
            step = list(steps(self.rules, self.scope, state))[choice]
            state = step.state
            lines.append(" ".join(map(str, step.label)))
        return lines


def explore(rules: Rules, scope: Scope, progress: Progress | None = None) -> Explored:
    """Explore a scope by some rules."""
    return Exploration(rules, scope).run(progress)
