"""A viewer's circle and whom it reaches, as a drawing needs it: bounded, and the same each time."""

from collections.abc import Callable, Collection
from typing import Final

import msgspec
import numpy as np

from hanse.trust.graph import Graph
from hanse.trust.model import Level, Operator
from hanse.trust.view import View

NODES: Final = 60
NODES_MAX: Final = 200
EDGES_MAX: Final = 1_000
DISTANCE_MAX: Final = 3


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, how many endorsements away from the viewer, and how much of its reach gets there.
    The level is the one that endorsements alone give: records of dealings are not looked at."""

    key: Operator
    distance: int
    level: Level
    reach: float


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One endorsement, a step further from the viewer."""

    by: Operator
    of: Operator
    grade: int


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes by distance, the most reached first; `left_out` were too many."""

    viewer: Operator
    domain: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    left_out: int


def picture(
    graph: Graph,
    view: View,
    *,
    viewer: Operator,
    circle: Collection[Operator],
    grades: dict[Operator, int],
    level: Callable[[Operator], Level],
    domain: str,
    limit: int = NODES,
) -> Picture:
    """The viewer, its circle with the `grades` it gave, and whom those shown lead to, up to `limit`
    nodes and DISTANCE_MAX steps. Nobody is shown without a path."""
    reach = view.reach()
    chosen: dict[Operator, int] = {viewer: 0}
    left_out = 0
    layer = set(circle) - {viewer}
    for distance in range(1, DISTANCE_MAX + 1):
        found = sorted(layer - chosen.keys(), key=lambda key: (-_of(graph, reach, key), key))
        shown = found[: max(0, limit - len(chosen))]
        left_out += len(found) - len(shown)
        chosen |= dict.fromkeys(shown, distance)
        layer = {of for key in shown for of in graph.given(key)}
    nodes = tuple(
        Node(
            key=key,
            distance=distance,
            level=level(key),
            reach=round(_of(graph, reach, key), 6),
        )
        for key, distance in chosen.items()
    )
    edges = [Edge(by=viewer, of=key, grade=grades.get(key, 1)) for key in circle if key in chosen]
    for key, distance in chosen.items():
        edges += (
            Edge(by=key, of=of, grade=grade)
            for of, grade in (graph.given(key) if distance else {}).items()
            if chosen.get(of) == distance + 1
        )
    edges.sort(key=lambda edge: (chosen[edge.by], -edge.grade, edge.by, edge.of))
    return Picture(
        viewer=viewer,
        domain=domain,
        nodes=nodes,
        edges=tuple(edge for edge in edges if edge.of != viewer)[:EDGES_MAX],
        left_out=left_out,
    )


def _of(
    graph: Graph, reach: "np.ndarray[tuple[int], np.dtype[np.float64]]", key: Operator
) -> float:
    number = graph.index(key)
    return float(reach[number]) if number is not None and number < len(reach) else 0.0
