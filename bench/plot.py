"""Line plots as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 500, 340  # of a plot
LEFT, RIGHT, TOP, BOTTOM = 60, 110, 44, 52
COLOURS = ("#1f6f8b", "#c8553d", "#6a994e")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """Series of points (x, y) by name; y begins at 0, x may be logarithmic."""

    title: str
    x_name: str
    y_name: str
    series: Mapping[str, Points]
    is_logarithmic: bool = False


def draw(plots: Sequence[Plot]) -> str:
    """Draw plots side by side, as an SVG document."""
    places = [f'<g transform="translate({WIDTH * number} 0)">' for number in range(len(plots))]
    groups = [line for place, plot in zip(places, plots, strict=True) for line in (place, *_parts(plot), "</g>")]
    width = WIDTH * len(plots)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>', *groups, "</svg>", ""])


def _parts(plot: Plot) -> Sequence[str]:
    series = plot.series
    xs = sorted({x for points in series.values() for x, _ in points})
    highest = max(y for points in series.values() for _, y in points)
    y_step = _step(highest)
    y_end = y_step * math.ceil(highest / y_step)
    scale = math.log10 if plot.is_logarithmic else float
    begin, end = scale(xs[0]), scale(xs[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (scale(x) - begin) / (end - begin)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / y_end * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 24, plot.title, "start", 15), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, plot.x_name)]
    parts.append(f'<g transform="rotate(-90 16 {HEIGHT / 2})">{_text(16, HEIGHT / 2, plot.y_name)}</g>')
    for number in range(round(y_end / y_step) + 1):
        x, y = place(xs[0], number * y_step)
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(x - 8, y + 4, f"{number * y_step:g}", "end"))
    parts += [_text(place(x, 0)[0], HEIGHT - BOTTOM + 20, f"{x:g}") for x in xs]
    for (name, points), colour in zip(series.items(), COLOURS, strict=False):
        places = [place(x, y) for x, y in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(places[-1][0] + 10, places[-1][1] + 4, name, "start", colour=colour))
    return parts


def _step(highest: float) -> float:
    """A round distance between grid lines, so that there are four to ten of them."""
    power = 10.0 ** math.floor(math.log10(highest))
    return next(power * part for part in (1.0, 0.5, 0.2, 0.1) if highest / (power * part) >= 4)


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 12, colour: str = "#333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )
