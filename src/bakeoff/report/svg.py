"""Drawing by hand: a few lines of inline SVG for each chart. Colours are classes, so that the page's style decides."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """A straight line from values to pixels."""

    low: float
    high: float
    start: float  # pixel of `low`
    end: float  # pixel of `high`

    def __call__(self, value: float) -> float:
        """Pixel of `value`, to a tenth; what lies outside ends at the edge."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)


def padded(values: Iterable[float], *, start: float, end: float, by: float = 0.06) -> Scale:
    """A scale that shows all `values` with some air around."""
    known = list(values)
    low, high = min(known), max(known)
    air = (high - low) * by or abs(high) * 0.1 or 1.0
    return Scale(low=low - air, high=high + air, start=start, end=end)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers in [low, high], at most `most` of them and at least one where one fits."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def picture(width: int, height: int, says: str, body: Iterable[Markup]) -> Markup:
    """An image with its text alternative, as wide as its place allows."""
    inner = Markup("").join(body)
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">'
        "<title>{}</title>{}</svg>"
    ).format(width, height, width, height, says, says, inner)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, kind)


def rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    sized = (round(max(width, 0.0), 1), round(max(height, 0.0), 1))
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(x, y, *sized, kind)


def dot(x: float, y: float, radius: float, kind: str) -> Markup:
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}"/>').format(x, y, radius, kind)


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "middle") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, escape(said))


def path(points: Iterable[tuple[float, float]], kind: str) -> Markup:
    """A line through `points`, in pixels."""
    drawn = " ".join(f"{'M' if n == 0 else 'L'}{x} {y}" for n, (x, y) in enumerate(points))
    return Markup('<path d="{}" class="{}" fill="none"/>').format(drawn, kind)
