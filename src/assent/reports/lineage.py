"""Where each stage stands in the picture of the lineage: layers from inputs to results, few crossings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Node:
    """A stage; ``x`` and ``y`` are the middle of its box."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """From a stage to one that reads it; ``path`` is an SVG path that passes between the boxes of layers it skips."""

    source: str
    target: str
    path: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture of ``width`` by ``height`` (CSS pixels at natural size), boxes of ``box`` (width, height)."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float
    box: Point


def lay_out(upstream: Mapping[str, Sequence[str]], across: bool = True) -> Layout:
    """Lay out stages, each given with the stages it reads and listed after them.

    Sugiyama's method: a stage stands one layer after the last that it reads; an edge that skips layers holds a place in
    each; rows are sorted by the mean place of their neighbours, forwards and back.  ``across`` runs from left to right,
    otherwise from top to bottom.  Edges that another path already implies are left out, as the path shows them.
    """
    edges = _reduced(upstream)
    depth: dict[str, int] = {}
    for name in upstream:
        depth[name] = max((depth[source] + 1 for source in upstream[name] if source in depth), default=0)
    chains = {(a, b): [a, *(f"{a}\0{b}\0{d}" for d in range(depth[a] + 1, depth[b])), b] for a, b in edges}
    layers = _sorted_layers(_layers(depth, chains), chains)
    box = (110.0, 36.0)
    along, aside = (138.0, 50.0) if across else (66.0, 118.0)
    rows = max((_extent(layer) for layer in layers), default=1.0)
    place: dict[str, Point] = {}
    for d, layer in enumerate(layers):
        offset = (rows - _extent(layer)) / 2
        for name, row in _rows(layer):
            a, b = (d + 0.5) * along, (offset + row + 0.5) * aside
            place[name] = (a, b) if across else (b, a)
    length, breadth = len(layers) * along, rows * aside
    return Layout(
        nodes=tuple(Node(name, *place[name]) for name in upstream),
        edges=tuple(Edge(a, b, _path([place[x] for x in chain], box, across)) for (a, b), chain in chains.items()),
        width=length if across else breadth,
        height=breadth if across else length,
        box=box,
    )


def _reduced(upstream: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The edges without those that a longer path implies (transitive reduction)."""
    above: dict[str, set[str]] = {}
    for name, sources in upstream.items():
        above[name] = set(sources).union(*(above.get(source, set()) for source in sources))
    return [
        (source, name)
        for name, sources in upstream.items()
        for source in sources
        if source in above and not any(source in above.get(other, set()) for other in sources if other != source)
    ]


def _layers(depth: Mapping[str, int], chains: Mapping[tuple[str, str], list[str]]) -> list[list[str]]:
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, d in depth.items():
        layers[d].append(name)
    for (source, _), chain in chains.items():
        for step, place in enumerate(chain[1:-1], start=1):
            layers[depth[source] + step].append(place)
    return layers


def _sorted_layers(layers: list[list[str]], chains: Mapping[tuple[str, str], list[str]]) -> list[list[str]]:
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for chain in chains.values():
        for a, b in itertools.pairwise(chain):
            after.setdefault(a, []).append(b)
            before.setdefault(b, []).append(a)
    layers = [list(layer) for layer in layers]
    for sweep in range(8):
        forwards = sweep % 2 == 0
        neighbours, order = (before, range(1, len(layers))) if forwards else (after, range(len(layers) - 2, -1, -1))
        for d in order:
            row = dict(_centred(layers[d - 1] if forwards else layers[d + 1]))
            own = dict(_centred(layers[d]))
            layers[d].sort(key=lambda name: _mean([row[x] for x in neighbours.get(name, [])], own[name]))
    return layers


def _rows(layer: Sequence[str]) -> list[tuple[str, float]]:
    """Each place with its distance from the start: a passing edge takes half the room of a box."""
    out, at = [], 0.0
    for name in layer:
        room = 0.5 if "\0" in name else 1.0
        out.append((name, at + room / 2 - 0.5))
        at += room
    return out


def _extent(layer: Sequence[str]) -> float:
    return sum(0.5 if "\0" in name else 1.0 for name in layer)


def _centred(layer: Sequence[str]) -> list[tuple[str, float]]:
    return [(name, row - _extent(layer) / 2) for name, row in _rows(layer)]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _path(points: Sequence[Point], box: Point, across: bool) -> str:
    """Cubic curves that leave and meet the boxes straight on; coordinates to a tenth of a pixel."""
    axis, half = (0, box[0] / 2) if across else (1, box[1] / 2)
    ends = [list(point) for point in points]
    ends[0][axis] += half
    ends[-1][axis] -= half + 5  # room for the arrow head
    text = f"M{ends[0][0]:.1f} {ends[0][1]:.1f}"
    for number, ((ax, ay), (bx, by)) in enumerate(itertools.pairwise(ends)):
        if across and number > 0:
            # A passing edge runs level along the boxes of the layer before it bends on.
            ax += half
            text += f"L{ax:.1f} {ay:.1f}"
        if across and number < len(ends) - 2:
            bx -= half
        middle = ((ax + bx) / 2, (ay + by) / 2)
        c1, c2 = ((middle[0], ay), (middle[0], by)) if across else ((ax, middle[1]), (bx, middle[1]))
        text += f"C{c1[0]:.1f} {c1[1]:.1f} {c2[0]:.1f} {c2[1]:.1f} {bx:.1f} {by:.1f}"
    return text
