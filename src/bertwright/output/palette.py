"""Colors of plots and HTML pages, distinguishable with any kind of color blindness.

Okabe & Ito 2008, "Color Universal Design".
"""

from __future__ import annotations

from typing import Final

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
VERMILION: Final = "#D55E00"
SKY: Final = "#56B4E9"
"""Instead of :data:`BLUE` on a dark background."""

CURVE_COLORS: Final = (VERMILION, BLUE, GREEN, PURPLE, ORANGE)
"""Of the curves of a plot, in their order."""
