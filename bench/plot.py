"""Lines in a plain SVG: cost over the size of the log, both axes logarithmic."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Line = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 900, 560
LEFT, TOP, RIGHT, BOTTOM = 80, 50, 190, 60
_COLOURS = (
    "#1b6ca8 #c1440e #2a9d50 #8e44ad #b8860b #00838f #c2185b #5d4037 #546e7a #7cb342 #3949ab "
    "#e67e22 #9e9e9e #212121"
)
COLOURS = _COLOURS.split()


def write_plot(path: Path, title: str, across: str, up: str, lines: Mapping[str, Line]) -> None:
    """Draw `lines` by name. Values must be above zero; smaller ones are drawn at the bottom."""
    xs = [x for line in lines.values() for x, _ in line]
    ys = [y for line in lines.values() for _, y in line if y > 0]
    x_low, x_high = math.log10(min(xs)), math.log10(max(xs) * 1.0001)
    y_low, y_high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)) + 1e-9)

    def at_x(value: float) -> float:
        return LEFT + (math.log10(value) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def at_y(value: float) -> float:
        share = (math.log10(max(value, 10**y_low)) - y_low) / (y_high - y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 25, title, "middle", 15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15, across, "middle"),
        _text(LEFT, TOP - 10, up, "start"),
    ]
    for power in range(y_low, y_high + 1):
        y = at_y(10**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g}", "end"))
    for value in sorted(set(xs)):
        x = at_x(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{value:,.0f}", "middle"))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        y = TOP + 10 + number * 20
        parts.append(f'<path d="M{WIDTH - RIGHT + 15} {y}h20" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(WIDTH - RIGHT + 42, y + 4, name, "start"))
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222">'
        f"{escape(text)}</text>"
    )
