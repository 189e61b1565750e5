"""A set of positions."""

from __future__ import annotations

from collections.abc import Iterator


class PositionSet:
    """A set of positions, a bit each: a million of them take 125 kB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, position: int) -> None:
        """Put a position in."""
        byte = position >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1024 - len(self._bits)))
        self._bits[byte] |= 1 << (position & 7)

    def __contains__(self, position: int) -> bool:
        """Tell whether a position is in it."""
        byte = position >> 3
        return byte < len(self._bits) and bool(self._bits[byte] & 1 << (position & 7))

    def __iter__(self) -> Iterator[int]:
        """Iterate over the positions, in order."""
        return self - PositionSet()

    def __sub__(self, others: PositionSet) -> Iterator[int]:
        """Yield the positions that are not among others, in order."""
        for byte, bits in enumerate(self._bits):
            if bits & ~(others._bits[byte] if byte < len(others._bits) else 0):
                yield from (
                    position
                    for position in range(byte << 3, (byte + 1) << 3)
                    if position in self and position not in others
                )
