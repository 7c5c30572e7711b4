"""A set that keeps its order: the order of Python's own changes from process to process."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Set


class OrderedSet(Set[object], Hashable):
    """An immutable set, iterated in the order in which its items came."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[object] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[object]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash()

    def union(self, other: Iterable[object]) -> OrderedSet:
        """Return own items, then those of *other*."""
        return OrderedSet([*self, *other])

    def intersection(self, other: Set[object]) -> OrderedSet:
        """Return own items that are in *other*."""
        return OrderedSet(item for item in self if item in other)

    def difference(self, other: Iterable[object]) -> OrderedSet:
        """Return own items that are not in *other*."""
        without = dict.fromkeys(other)
        return OrderedSet(item for item in self if item not in without)

    def symmetric_difference(self, other: Set[object]) -> OrderedSet:
        """Return the items that are in one of both only."""
        return OrderedSet([*self.difference(other), *(item for item in other if item not in self)])
