"""The curves and scatter plots of a report, as inline SVG that takes its colours and font from the page around it.

matplotlib draws with stand-in colours, each of which then becomes a CSS variable: one picture serves light, dark and
print.  The only module here that imports matplotlib.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from assent.reports.records import Calibration, Policy, Report, Series, Training
from assent.reports.wording import label

_VARIABLES = {
    "ink": "#010203", "muted": "#010204", "rule": "#010205", "paper": "#010206", "accent": "#010207",
    "p0": "#010210", "p1": "#010211", "p2": "#010212", "p3": "#010213", "p4": "#010214", "p5": "#010215",
}  # fmt: skip
"""CSS variable -> the colour that stands for it while matplotlib draws."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _VARIABLES["rule"],
    "axes.labelcolor": _VARIABLES["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": _VARIABLES["rule"],
    "grid.linewidth": 0.6,
    "text.color": _VARIABLES["ink"],
    "xtick.color": _VARIABLES["muted"],
    "ytick.color": _VARIABLES["muted"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.unicode_minus": True,
}

MAX_POINTS = 300
"""Points of a drawn curve; longer ones are drawn as means of equal stretches."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page: inline SVG, its heading and what it says to who cannot see it."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    """Text and CSS variable of each colour that the heading does not explain."""


@dataclass(frozen=True)
class Panel:
    """One small chart of a training stage: which metrics, under which heading."""

    title: str
    names: tuple[str, ...]
    legend: Mapping[str, str] = field(default_factory=dict)
    percent: bool = False


PANELS = (
    Panel("Loss", ("loss", "eval_loss"), {"loss": "training", "eval_loss": "held out"}),
    Panel("Accuracy", ("accuracy", "eval_accuracy"), {"accuracy": "training", "eval_accuracy": "held out"}, True),
    Panel("Reward model’s score", ("reward_mean",)),
    Panel("KL from the reference, nats", ("kl",)),
    Panel("KL coefficient", ("kl_coefficient",)),
    Panel("Completion length, tokens", ("completion_tokens",)),
    Panel("Share that ended by itself", ("ended_share",), percent=True),
    Panel("Entropy, nats per token", ("entropy",)),
)  # fmt: skip
MORE_PANELS = (
    Panel(
        "Score margin, chosen over rejected",
        ("margin", "eval_margin"),
        {"margin": "training", "eval_margin": "held out"},
    ),
    Panel("Value loss", ("value_loss",)),
    Panel("Variance that the values explain", ("value_explained",), percent=True),
    Panel("Policy loss", ("policy_loss",)),
    Panel("Share of clipped ratios", ("ratio_clipped",), percent=True),
    Panel("Gradient norm", ("grad_norm",)),
    Panel("Learning rate", ("lr", "learning_rate")),
)


def policy_variable(names: Sequence[str], name: str) -> str:
    """The CSS variable of a policy's colour: the same all over the page."""
    fixed = {"sft": "p0", "ppo": "p1", "dpo": "p2"}
    others = [each for each in names if each not in fixed]
    return fixed.get(name) or f"p{3 + others.index(name) % 3}"


def training_pictures(training: Training, panels: Sequence[Panel], ceiling: float | None = None) -> list[Picture]:
    """The charts of one stage, of those ``panels`` that it has metrics for.

    ``ceiling`` [share] is the accuracy that annotator noise leaves to reach, a line in the chart of accuracy.
    """
    out = []
    for panel in panels:
        found = {name: training.series[name] for name in panel.names if name in training.series}
        if not any(len(series.steps) > 1 for series in found.values()):
            continue
        line = ceiling if "accuracy" in panel.names else None
        svg = _draw(
            lambda axes, p=panel, f=found, c=line: _curves(axes, p, f, c), f"{label(training.stage)}: {panel.title}"
        )
        colours = dict(zip(panel.names, ("muted", "accent"), strict=False)) if len(found) > 1 else {}
        legend = [(panel.legend.get(name, name), colour) for name, colour in colours.items()]
        out.append(Picture(panel.title, svg, tuple(legend)))
    return out


def frontier_pictures(report: Report) -> list[Picture]:
    """KL against what the judge says, and against what the reward model says, one point a policy."""
    names = [policy.name for policy in report.policies]
    paths = {t.stage: t.series for t in report.trainings if {"kl", "reward_mean"} <= set(t.series)}
    out = []
    by_judge = "utility" if any("utility" in policy.figures for policy in report.policies) else "positive_rate"
    for key, title in (
        (by_judge, f"By the judge: {report.judge}"),
        ("reward", "By the reward model it was trained on"),
    ):
        shown = [p for p in report.policies if key in p.figures and "kl" in p.figures]
        if len(shown) < 2:
            continue
        trail = paths if key == "reward" else {}
        svg = _draw(
            lambda axes, s=shown, k=key, t=trail: _scatter(axes, s, k, names, t),
            f"Score against KL. {title}",
            (4.1, 2.7),
        )
        out.append(Picture(title, svg))
    return out


def calibration_picture(bins: Sequence[Calibration]) -> Picture:
    """Predicted against observed, with the diagonal that a calibrated model follows; areas go with the comparisons."""
    return Picture(
        "Calibration: probability it gave, and how often it came true",
        _draw(lambda axes: _calibration(axes, bins), "Calibration of the reward model", (3.6, 2.6)),
    )


def _curves(axes: Axes, panel: Panel, found: Mapping[str, Series], ceiling: float | None) -> None:
    scale = 100 if panel.percent else 1
    for name, series in found.items():
        x, y = np.asarray(series.steps), scale * np.asarray(series.values)
        first = name == panel.names[0] and len(found) > 1
        colour = _VARIABLES["muted" if first else "accent"]
        if len(x) > 40 and _rough(y):
            axes.plot(*_thinned(x, y), color=colour, linewidth=0.7, alpha=0.35)
            y = _smoothed(y)
        axes.plot(*_thinned(x, y), color=colour, linewidth=1.7, solid_capstyle="round")
        axes.plot(x[-1], y[-1], "o", color=colour, markersize=4)
    if ceiling is not None:
        axes.axhline(scale * ceiling, color=_VARIABLES["ink"], linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"ceiling {scale * ceiling:.1f}", (0, scale * ceiling), (2, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=8, color=_VARIABLES["ink"],
        )  # fmt: skip
    if panel.percent:
        axes.set_ylabel("%")
    axes.set_xlabel("step")
    axes.margins(y=0.12)


def _scatter(
    axes: Axes,
    policies: Sequence[Policy],
    key: str,
    names: Sequence[str],
    trails: Mapping[str, Mapping[str, Series]],
) -> None:
    for name, series in trails.items():
        if name in names:
            kl, reward = _common(series["kl"], series["reward_mean"])
            colour = _VARIABLES[policy_variable(names, name)]
            axes.plot(*_thinned(_smoothed(kl), _smoothed(reward)), color=colour, linewidth=1.2, alpha=0.4)
    for policy in policies:
        colour = _VARIABLES[policy_variable(names, policy.name)]
        x, y = policy.figures["kl"], policy.figures[key]
        axes.errorbar(
            x, y, xerr=1.96 * policy.figures.get("kl_se", 0), yerr=1.96 * policy.figures.get(f"{key}_se", 0),
            fmt="o", color=colour, markersize=8, elinewidth=1.2, markeredgecolor=_VARIABLES["paper"],
        )  # fmt: skip
        axes.annotate(
            label(policy.name), (x, y), (0, 9), textcoords="offset points", ha="center", color=colour, fontweight="bold"
        )
    axes.set_xlabel("KL from the reference, nats")
    axes.set_ylabel("share positive" if key == "positive_rate" else "score")
    axes.margins(0.14, 0.2)


def _calibration(axes: Axes, bins: Sequence[Calibration]) -> None:
    low = min([0.5, *(row.predicted for row in bins), *(row.observed for row in bins)])
    axes.plot([100 * low, 100], [100 * low, 100], color=_VARIABLES["rule"], linewidth=1.2)
    most = max(row.n for row in bins)
    axes.plot([100 * row.predicted for row in bins], [100 * row.observed for row in bins], color=_VARIABLES["accent"])
    axes.scatter(
        [100 * row.predicted for row in bins], [100 * row.observed for row in bins],
        s=[16 + 60 * row.n / most for row in bins], color=_VARIABLES["accent"],
        edgecolors=_VARIABLES["paper"], zorder=3,
    )  # fmt: skip
    axes.set_xlabel("predicted, %")
    axes.set_ylabel("observed, %")


def _draw(fill: Callable[[Axes], None], text: str, size: tuple[float, float] = (3.6, 2.1)) -> str:
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
    for variable, colour in _VARIABLES.items():
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


def _smoothed(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the fifteenth of the run around each point; at the ends over the half of it that is there."""
    half = max(1, len(y) // 30)
    total = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    first, last = np.maximum(at - half, 0), np.minimum(at + half, len(y) - 1) + 1
    return (total[last] - total[first]) / (last - first)


def _rough(y: NDArray[np.float64]) -> bool:
    """Whether a curve jitters: a schedule or a controller does not, and a running mean would bend its ends."""
    return bool(np.abs(np.diff(y, 2)).mean() > 0.01 * np.ptp(y))


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(x) <= MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MAX_POINTS)
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _common(a: Series, b: Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values of both at the steps that both recorded."""
    theirs = dict(zip(b.steps, b.values, strict=True))
    pairs = [(value, theirs[step]) for step, value in zip(a.steps, a.values, strict=True) if step in theirs]
    return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])
