"""Where nodes and edges go, in layers from top to bottom.

Longest path gives each node its layer, so that what joins stands below all that it waits for. An edge takes a place in
each layer that it crosses, and its label in one of them: so no edge crosses a node, and no label hides another. The
order within layers follows the mean of the neighbours (barycenter), back and forth; the best order seen is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tradewind_server.lang.chart import START, Chart, Edge

#: Pixels between two things in a layer, and between two layers.
_GAP_X, _GAP_Y = 24.0, 18.0
_SWEEPS = 12
_SHIFTS = 24


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    width: float
    height: float


#: What an edge without a label takes of a layer.
_POINT = Size(1.0, 0.0)


@dataclasses.dataclass(slots=True)
class Spot:
    """Something in a layer: a node, or a point that an edge goes through."""

    size: Size
    layer: int
    #: Of its middle, pixels.
    x: float = 0.0
    y: float = 0.0
    above: list[int] = dataclasses.field(default_factory=list)
    below: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Everything in its place."""

    nodes: Mapping[str, Spot]
    #: What each edge goes through, but those to itself, from source to target. The label, if it has one, is next to the
    #: upper end; in a layer of nodes it runs straight down between them.
    routes: Mapping[int, Sequence[Spot]]
    width: float
    height: float


def arrange(chart: Chart, nodes: Mapping[str, Size], labels: Mapping[int, Size]) -> Layout:
    """Place the nodes of *chart*, whose sizes are given, and the labels of its edges, by the edge's number."""
    layers_of = _layers(chart)
    spots = [Spot(nodes[node.id], 2 * layers_of[node.id]) for node in chart.nodes]
    index = {node.id: number for number, node in enumerate(chart.nodes)}
    paths: dict[int, list[int]] = {}
    for number, edge in enumerate(chart.edges):
        if edge.source != edge.target:
            paths[number] = _path(spots, index, edge, labels.get(number, _POINT))
    layers = _ordered(spots)
    _place(spots, layers)
    width = max(spot.x + spot.size.width / 2 for spot in spots)
    height = max(spot.y + spot.size.height / 2 for spot in spots)
    return Layout(
        {id_: spots[number] for id_, number in index.items()},
        {number: [spots[each] for each in path if _shapes(spots[each])] for number, path in paths.items()},
        width,
        height,
    )


def _shapes(spot: Spot) -> bool:
    """Tell whether an edge has to go through here: not where it only passes between two layers of nodes."""
    return spot.layer % 2 == 0 or spot.size.width != _POINT.width


def _downward(edge: Edge) -> tuple[str, str]:
    """Return the edge's ends, upper first: one that leads back goes up."""
    return (edge.target, edge.source) if edge.is_back else (edge.source, edge.target)


def _layers(chart: Chart) -> dict[str, int]:
    """Return the length of the longest path to each node; without the edges that lead back there is no loop."""
    below: dict[str, list[str]] = {node.id: [] for node in chart.nodes}
    waiting = dict.fromkeys(below, 0)
    for edge in chart.edges:
        if edge.source != edge.target:
            upper, lower = _downward(edge)
            below[upper].append(lower)
            waiting[lower] += 1
    layers = {id_: 0 if id_ == START.id else 1 for id_ in below}
    ready = [id_ for id_, count in waiting.items() if not count]
    for id_ in ready:
        for lower in below[id_]:
            layers[lower] = max(layers[lower], layers[id_] + 1)
            waiting[lower] -= 1
            if not waiting[lower]:
                ready.append(lower)
    return layers


def _path(spots: list[Spot], index: Mapping[str, int], edge: Edge, label: Size) -> list[int]:
    upper, lower = (index[id_] for id_ in _downward(edge))
    path = [upper]
    first, last = spots[upper].layer + 1, spots[lower].layer
    for layer in range(first, last):
        spots.append(Spot(label if layer == first else _POINT, layer))
        path.append(len(spots) - 1)
    path.append(lower)
    for one, other in zip(path, path[1:], strict=False):
        spots[one].below.append(other)
        spots[other].above.append(one)
    return path[::-1] if edge.is_back else path


# --- order -------------------------------------------------------------------------------------------------------


def _ordered(spots: Sequence[Spot]) -> list[list[int]]:
    layers: list[list[int]] = [[] for _ in range(max(spot.layer for spot in spots) + 1)]
    for number, spot in enumerate(spots):
        layers[spot.layer].append(number)
    best, fewest = [list(layer) for layer in layers], _crossings(spots, layers)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        downward = sweep % 2 == 0
        for layer in layers if downward else reversed(layers):
            _sort(spots, layers, layer, downward)
        crossings = _crossings(spots, layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _sort(spots: Sequence[Spot], layers: list[list[int]], layer: list[int], downward: bool) -> None:
    position = {number: place for each in layers for place, number in enumerate(each)}

    def mean(number: int) -> float:
        neighbours = spots[number].above if downward else spots[number].below
        if not neighbours:
            return position[number]
        return sum(position[each] for each in neighbours) / len(neighbours)

    layer.sort(key=mean)


def _crossings(spots: Sequence[Spot], layers: list[list[int]]) -> int:
    count = 0
    for layer, lower in zip(layers, layers[1:], strict=False):
        position = {number: place for place, number in enumerate(lower)}
        ends = [position[below] for number in layer for below in sorted(spots[number].below, key=position.__getitem__)]
        count += _inversions(ends)
    return count


def _inversions(values: list[int]) -> int:
    """Count the pairs in the wrong order, by merging sorted halves."""
    if len(values) < 2:
        return 0
    middle = len(values) // 2
    left, right = values[:middle], values[middle:]
    count = _inversions(left) + _inversions(right)
    left.sort()
    right.sort()
    place = 0
    for value in right:
        while place < len(left) and left[place] <= value:
            place += 1
        count += len(left) - place
    return count


# --- places ------------------------------------------------------------------------------------------------------


def _place(spots: Sequence[Spot], layers: list[list[int]]) -> None:
    y = 0.0
    for layer in layers:
        height = max((spots[number].size.height for number in layer), default=0)
        x = 0.0
        for number in layer:
            spot = spots[number]
            spot.x, spot.y = x + spot.size.width / 2, y + height / 2
            if spot.size is _POINT:
                spot.size = Size(_POINT.width, height)
            x += spot.size.width + _GAP_X
        y += height + _GAP_Y
    for shift in range(_SHIFTS):
        for layer in layers if shift % 2 == 0 else reversed(layers):
            _shift(spots, layer)
    left = min(spot.x - spot.size.width / 2 for spot in spots)
    for spot in spots:
        spot.x -= left


def _shift(spots: Sequence[Spot], layer: list[int]) -> None:
    """Move everything of a layer towards the middle of its neighbours, as far as order and gaps allow."""
    wanted = []
    for number in layer:
        spot = spots[number]
        around = [(spots[each].x, _pull(spot, spots[each])) for each in (*spot.above, *spot.below)]
        total = sum(pull for _, pull in around)
        wanted.append(sum(x * pull for x, pull in around) / total if around else spot.x)
    # the mean of a placing from the left and one from the right keeps order and gaps, and prefers neither side
    from_left, from_right = list(wanted), list(wanted)
    for place in range(1, len(layer)):
        gap = _gap(spots[layer[place - 1]], spots[layer[place]])
        from_left[place] = max(wanted[place], from_left[place - 1] + gap)
    for place in range(len(layer) - 2, -1, -1):
        gap = _gap(spots[layer[place]], spots[layer[place + 1]])
        from_right[place] = min(wanted[place], from_right[place + 1] - gap)
    for number, left, right in zip(layer, from_left, from_right, strict=True):
        spots[number].x = (left + right) / 2


def _pull(one: Spot, other: Spot) -> int:
    """Return how much two things want to stand below each other: long edges want to be straight most of all."""
    points = (one.size.width == _POINT.width) + (other.size.width == _POINT.width)
    return (1, 2, 8)[points]


def _gap(left: Spot, right: Spot) -> float:
    return (left.size.width + right.size.width) / 2 + _GAP_X
