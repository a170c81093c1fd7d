"""A circle and its paths as SVG: rings of distance from me, colours by level, lines by grade.

The same picture gives the same bytes; names are strangers' text and are escaped.
"""

import math
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from hanse.cli.terminal import quoted

SIZE: Final = 1000
NAME_MAX: Final = 18
_MIDDLE = SIZE / 2
_RING = 145
_COLOURS: Final = {
    0: "#c1440e",
    1: "#9e9e9e",
    2: "#1b6ca8",
    3: "#2a9d50",
    4: "#8e44ad",
}
"""By level, as the legend says."""

_LEVELS: Final = {0: "barred", 1: "stranger", 2: "accepted", 3: "trusted", 4: "my circle"}
_LINE = "#7a8794"
_GRADE_MAX = 10


def draw(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """SVG of what `/api/v1/trust/graph` says. A node without a name is called by its npub."""
    rings: dict[int, list[str]] = {}
    for node in found["nodes"]:
        rings.setdefault(node["distance"], []).append(node["key"])
    places = _places(rings, found["edges"])
    title = f"Whom I reach in {quoted(found['domain'])}" if found["domain"] else "Whom I reach"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{SIZE}" height="{SIZE}" fill="white"/>',
    ]
    parts += [
        f'<circle cx="{_MIDDLE:.0f}" cy="{_MIDDLE:.0f}" r="{_RING * ring}" fill="none" '
        'stroke="#e6e6e6"/>'
        for ring in rings
        if ring
    ]
    parts += [_edge(edge, places) for edge in found["edges"]]
    parts += [_node(node, places[node["key"]], names) for node in found["nodes"]]
    parts.append(_text(20, 28, title, "start", 16))
    for row, (level, name) in enumerate(_LEVELS.items()):
        y = SIZE - 105 + row * 20
        parts.append(f'<circle cx="28" cy="{y}" r="6" fill="{_COLOURS[level]}"/>')
        parts.append(_text(42, y + 4, f"{level} {name}", "start"))
    if found["left_out"]:
        parts.append(_text(SIZE - 20, SIZE - 20, f"and {found['left_out']} more", "end"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _places(
    rings: Mapping[int, list[str]], edges: list[dict[str, Any]]
) -> dict[str, tuple[float, float, float]]:
    """x, y and angle of each node: evenly on its ring, near to who endorses it."""
    angles: dict[str, float] = {}
    placed: dict[str, tuple[float, float, float]] = {}
    for ring in sorted(rings):
        pulls: dict[str, list[float]] = {}
        for edge in edges:
            if edge["by"] in angles and edge["of"] in rings[ring]:
                pulls.setdefault(edge["of"], []).append(angles[edge["by"]])
        wanted = {key: _mean(pulls.get(key, [])) for key in rings[ring]}
        ordered = sorted(rings[ring], key=lambda key: (wanted[key], key))
        for place, key in enumerate(ordered):
            angle = 2 * math.pi * place / len(ordered)
            angles[key] = angle
            x = _MIDDLE + ring * _RING * math.sin(angle)
            y = _MIDDLE - ring * _RING * math.cos(angle)
            placed[key] = (x, y, angle)
    return placed


def _mean(angles: list[float]) -> float:
    """The direction between some directions, from 0 to 2π."""
    across, along = sum(map(math.sin, angles)), sum(map(math.cos, angles))
    # Rounded: or which of two equal directions comes first would hang on the last bit.
    return round(math.atan2(across, along) % (2 * math.pi), 9)


def _edge(edge: Mapping[str, Any], places: Mapping[str, tuple[float, float, float]]) -> str:
    (x1, y1, _), (x2, y2, _) = places[edge["by"]], places[edge["of"]]
    share = edge["grade"] / _GRADE_MAX
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{_LINE}" '
        f'stroke-width="{0.5 + 2.5 * share:.2f}" stroke-opacity="{0.25 + 0.5 * share:.2f}"/>'
    )


def _node(
    node: Mapping[str, Any], place: tuple[float, float, float], names: Mapping[str, str]
) -> str:
    x, y, angle = place
    name = quoted(names.get(node["key"]) or node["npub"][:12] + "…", NAME_MAX)
    if node["distance"] == 0:
        name = f"me ({name})"
    right = math.sin(angle) >= 0
    label = _text(x + (11 if right else -11), y + 4, name, "start" if right else "end")
    radius = 9 if node["distance"] == 0 else 6
    about = f"{node['npub']}, level {node['level']}, reach {node['reach']:.4f}"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{_COLOURS[node["level"]]}">'
        f"<title>{escape(about)}</title></circle>{label}"
    )


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222">'
        f"{escape(text)}</text>"
    )
