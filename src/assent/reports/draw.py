"""The curves and scatter plots of a report, as inline SVG that takes its colours and font from the page around it.

It and :mod:`assent.reports.svg` alone import matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from assent.reports.records import Calibration, Fit, Policy, Report, RewardCurve, Series, Training
from assent.reports.svg import VARIABLES, Picture, as_svg
from assent.reports.wording import label

MAX_POINTS = 300
"""Points of a drawn curve; longer ones are drawn as means of equal stretches."""


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
        svg = as_svg(
            lambda axes, p=panel, f=found, c=line: _curves(axes, p, f, c), f"{label(training.stage)}: {panel.title}"
        )
        colours = dict(zip(panel.names, ("muted", "accent"), strict=False)) if len(found) > 1 else {}
        legend = [(panel.legend.get(name, name), colour) for name, colour in colours.items()]
        out.append(Picture(panel.title, svg, tuple(legend)))
    return out


def overlay_pictures(stage: str, runs: Mapping[str, tuple[str, Training]], panels: Sequence[Panel]) -> list[Picture]:
    """The charts of a stage over several runs: run -> CSS variable of its colour, and its metrics.

    A chart shows the last of its panel's metrics that a run has: held out rather than training.
    """
    out = []
    for panel in panels:
        found = {}
        for run, (variable, training) in runs.items():
            name = next((n for n in reversed(panel.names) if len(_points(training, n)) > 1), None)
            if name is not None:
                found[run] = (variable, training.series[name])
        if found:
            text = f"{label(stage)}: {panel.title} of {', '.join(found)}"
            out.append(Picture(panel.title, as_svg(lambda axes, p=panel, f=found: _overlay(axes, p, f), text)))
    return out


def frontiers(runs: Sequence[tuple[str, str, Report]]) -> list[Picture]:
    """KL against what the judge says and what the reward model says, of every policy of every run."""
    out = []
    for key, title in (("utility", "By the judge"), ("reward", "By the reward model it was trained on")):
        found = [
            (run, variable, policy)
            for run, variable, report in runs
            for policy in report.policies
            if {key, "kl"} <= set(policy.figures)
        ]
        if len(found) > 1:
            text = f"Score against KL of {', '.join(run for run, _, _ in runs)}. {title}"
            out.append(Picture(title, as_svg(lambda axes, f=found, k=key: _frontier(axes, f, k), text, (4.1, 2.7))))
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
        svg = as_svg(
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
        as_svg(lambda axes: _calibration(axes, bins), "Calibration of the reward model", (3.6, 2.6)),
    )


REWARDS = (("proxy", "reward that was optimised", "p2"), ("gold", "judge", "accent"))
"""What a curve of reward against KL shows: key, words, CSS variable."""


def reward_curve_picture(curve: RewardCurve) -> Picture | None:
    """Gains in both rewards over KL with their fitted forms, the peak and the alarm; ``None`` for under two points."""
    if len(curve.points) < 2:
        return None
    title = f"{label(curve.name)}: gain over the reference, by KL"
    seen = [reward for reward in REWARDS if any(getattr(point, reward[0]) is not None for point in curve.points)]
    svg = as_svg(lambda axes: _reward_curve(axes, curve, [key for key, _, _ in seen]), title, (4.6, 2.9))
    return Picture(title, svg, tuple((words, variable) for _, words, variable in seen))


def form(fit: Fit, d: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Gain that a fitted form gives at ``d = sqrt(KL)`` [P], above 0 (Gao et al. 2022, arXiv:2210.10760, eq. 1-2)."""
    return d * (fit.alpha - fit.beta * (d if kind == "best-of-n" else np.log(d)))


def _reward_curve(axes: Axes, curve: RewardCurve, keys: Sequence[str]) -> None:
    colours = {key: VARIABLES[variable] for key, _, variable in REWARDS}
    kl = [point.kl for point in curve.points]
    far = max(kl) * 1.04
    d = np.linspace(1e-3, max(far, 1e-6) ** 0.5, 120)
    for fit in curve.fits:
        if fit.reward in keys:
            axes.plot(d**2, form(fit, d, curve.form), color=colours[fit.reward], linewidth=1.4, alpha=0.55)
    for key in keys:
        there = [point for point in curve.points if getattr(point, key) is not None]
        axes.errorbar(
            [point.kl for point in there], [getattr(point, key) for point in there],
            xerr=[1.96 * point.kl_se for point in there],
            yerr=[1.96 * (getattr(point, f"{key}_se") or 0.0) for point in there],
            fmt="o", color=colours[key], markersize=4.5, elinewidth=1.0, markeredgecolor=VARIABLES["paper"],
        )  # fmt: skip
        raised = [point for point in there if point.label == curve.raised_at]
        if key == "gold" and raised:
            axes.plot(raised[0].kl, getattr(raised[0], key), "o", markersize=11, markerfacecolor="none",
                      markeredgecolor=VARIABLES["ink"])  # fmt: skip
            _note(axes, "alarm", raised[0].kl, getattr(raised[0], key), -14)
    gold = next((fit for fit in curve.fits if fit.reward == "gold" and fit.reached and fit.peak_kl), None)
    if gold is not None and gold.peak_kl is not None and "gold" in keys:
        axes.axvline(gold.peak_kl, color=VARIABLES["ink"], linewidth=0.9, linestyle=(0, (4, 3)))
        top = float(form(gold, np.array([gold.peak_kl**0.5]), curve.form)[0])
        _note(axes, f"peak at {gold.peak_kl:.1f}", gold.peak_kl, top, 8)
    axes.set_xlabel("KL from the reference, nats")
    axes.set_ylabel("gain")
    axes.margins(y=0.14)


def _note(axes: Axes, text: str, x: float, y: float, up: float) -> None:
    axes.annotate(text, (x, y), (6, up), textcoords="offset points", fontsize=8, color=VARIABLES["ink"])


def _points(training: Training, name: str) -> tuple[float, ...]:
    return training.series[name].steps if name in training.series else ()


def _overlay(axes: Axes, panel: Panel, found: Mapping[str, tuple[str, Series]]) -> None:
    scale = 100 if panel.percent else 1
    for variable, series in found.values():
        _line(axes, np.asarray(series.steps), scale * np.asarray(series.values), VARIABLES[variable])
    if panel.percent:
        axes.set_ylabel("%")
    axes.set_xlabel("step")
    axes.margins(y=0.12)


def _line(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str) -> None:
    """A curve; a long one that jitters faintly, under its running mean."""
    if len(x) > 40 and _rough(y):
        axes.plot(*_thinned(x, y), color=colour, linewidth=0.7, alpha=0.35)
        y = _smoothed(y)
    axes.plot(*_thinned(x, y), color=colour, linewidth=1.7, solid_capstyle="round")
    axes.plot(x[-1], y[-1], "o", color=colour, markersize=4)


def _frontier(axes: Axes, found: Sequence[tuple[str, str, Policy]], key: str) -> None:
    named_points(axes, [(VARIABLES[variable], policy) for _, variable, policy in found], key, 6)
    axes.set_xlabel("KL from the reference, nats")
    axes.set_ylabel("score")
    axes.margins(0.14, 0.2)


def _curves(axes: Axes, panel: Panel, found: Mapping[str, Series], ceiling: float | None) -> None:
    scale = 100 if panel.percent else 1
    for name, series in found.items():
        x, y = np.asarray(series.steps), scale * np.asarray(series.values)
        first = name == panel.names[0] and len(found) > 1
        colour = VARIABLES["muted" if first else "accent"]
        _line(axes, x, y, colour)
    if ceiling is not None:
        axes.axhline(scale * ceiling, color=VARIABLES["ink"], linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"ceiling {scale * ceiling:.1f}", (0, scale * ceiling), (2, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=8, color=VARIABLES["ink"],
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
            colour = VARIABLES[policy_variable(names, name)]
            axes.plot(*_thinned(_smoothed(kl), _smoothed(reward)), color=colour, linewidth=1.2, alpha=0.4)
    found = [(VARIABLES[policy_variable(names, policy.name)], policy) for policy in policies]
    named_points(axes, found, key, 8, fontweight="bold")
    axes.set_xlabel("KL from the reference, nats")
    axes.set_ylabel("share positive" if key == "positive_rate" else "score")
    axes.margins(0.14, 0.2)


def named_points(
    axes: Axes, found: Sequence[tuple[str, Policy]], key: str, size: float, fontweight: str = "normal"
) -> None:
    """Policies with 95 % intervals.  A name stands above its point, below where another point is close above."""
    places = np.array([(policy.figures["kl"], policy.figures[key]) for _, policy in found])
    span = np.maximum(np.ptp(places, axis=0), 1e-9)
    for i, (colour, policy) in enumerate(found):
        (x, y), apart = places[i], (places - places[i]) / span
        axes.errorbar(
            x, y, xerr=1.96 * policy.figures.get("kl_se", 0), yerr=1.96 * policy.figures.get(f"{key}_se", 0),
            fmt="o", color=colour, markersize=size, elinewidth=1.2, markeredgecolor=VARIABLES["paper"],
        )  # fmt: skip
        close = (np.abs(apart[:, 0]) < 0.2) & (np.abs(apart[:, 1]) < 0.2)
        above = (apart[:, 1] > 0) | ((apart[:, 1] == 0) & (np.arange(len(found)) < i))
        up, side = (-1, "top") if bool((close & above).any()) else (1, "bottom")
        axes.annotate(
            label(policy.name), (x, y), (0, up * (size - 1)), textcoords="offset points", ha="center", va=side,
            color=colour, fontsize=8, fontweight=fontweight,
        )  # fmt: skip


def _calibration(axes: Axes, bins: Sequence[Calibration]) -> None:
    low = min([0.5, *(row.predicted for row in bins), *(row.observed for row in bins)])
    axes.plot([100 * low, 100], [100 * low, 100], color=VARIABLES["rule"], linewidth=1.2)
    most = max(row.n for row in bins)
    axes.plot([100 * row.predicted for row in bins], [100 * row.observed for row in bins], color=VARIABLES["accent"])
    axes.scatter(
        [100 * row.predicted for row in bins], [100 * row.observed for row in bins],
        s=[16 + 60 * row.n / most for row in bins], color=VARIABLES["accent"],
        edgecolors=VARIABLES["paper"], zorder=3,
    )  # fmt: skip
    axes.set_xlabel("predicted, %")
    axes.set_ylabel("observed, %")


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
