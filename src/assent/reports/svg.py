"""One chart as inline SVG that takes its colours and font from the page around it.

matplotlib draws with stand-in colours, each of which then becomes a CSS variable: one picture serves light, dark and
print.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

VARIABLES = {
    "ink": "#010203", "muted": "#010204", "rule": "#010205", "paper": "#010206", "accent": "#010207",
    "p0": "#010210", "p1": "#010211", "p2": "#010212", "p3": "#010213", "p4": "#010214", "p5": "#010215",
}  # fmt: skip
"""CSS variable -> the colour that stands for it while matplotlib draws."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": VARIABLES["rule"],
    "axes.labelcolor": VARIABLES["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": VARIABLES["rule"],
    "grid.linewidth": 0.6,
    "text.color": VARIABLES["ink"],
    "xtick.color": VARIABLES["muted"],
    "ytick.color": VARIABLES["muted"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page: inline SVG, its heading and what it says to who cannot see it."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    """Text and CSS variable of each colour that the heading does not explain."""


def as_svg(fill: Callable[[Axes], None], text: str, size: tuple[float, float] = (3.6, 2.1)) -> str:
    """One chart of ``size`` inches as SVG without fixed size, with ``text`` for screen readers."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": text}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        fill(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(out.getvalue(), text)


def _for_page(svg: str, text: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for variable, colour in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    # Ids are one name space over the whole page.
    prefix = f"g{zlib.crc32(text.encode()):08x}-"
    svg = re.sub(r'(\bid="|url\(#|href="#)', lambda match: match.group(1) + prefix, svg)
    box = re.search(r'viewBox="([^"]+)"', svg)
    shape = box.group(1) if box else "0 0 260 150"
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{shape}" role="img" aria-label="{safe}">'
    )
    return head + svg[svg.index(">") + 1 :]
