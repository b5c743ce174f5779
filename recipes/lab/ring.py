"""Where the sites of a run are on a circle, for a picture of one moment: the first one at the top, then clockwise."""

from collections.abc import Iterable
from math import cos, pi, sin

SIZE = 480
_RADIUS = 185


def ring(sites: Iterable[str]) -> dict[str, tuple[float, float]]:
    """The middle of each site, in a square of SIZE."""
    names = list(sites)
    angles = {name: 2 * pi * number / len(names) for number, name in enumerate(names)}
    middle = SIZE / 2
    return {
        name: (round(middle + _RADIUS * sin(angle), 1), round(middle - _RADIUS * cos(angle), 1))
        for name, angle in angles.items()
    }
