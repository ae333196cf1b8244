"""One self-contained HTML page a run, and its figures as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assent.reports import wording
from assent.reports.extract import extract
from assent.reports.lineage import lay_out
from assent.reports.records import Report, Sample, SampleText
from assent.reports.rounds import read_rounds
from assent.reports.summary import figures, judge_phrase, reference_match, verdict

if TYPE_CHECKING:
    from assent.reports.svg import Picture

MAX_SAMPLES = 120
"""Samples on the page: evenly taken over the order in which they were evaluated."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table of policies.  ``bar`` says that the value is a share of 1, drawn as a bar under it."""

    key: str
    title: str
    hint: str
    digits: int = 2
    percent: bool = False
    bar: bool = False


MEASURES = (
    Measure("positive_rate", "Positive", "share that the judge calls positive", 1, True, True),
    Measure("utility", "Judge’s score", "mean over held-out prompts; higher is better"),
    Measure("reward", "Reward model’s score", "what training pushed up; not evidence by itself"),
    Measure("kl", "KL", "nats per completion from the reference"),
    Measure("perplexity_ratio", "Perplexity", "under the pretrained model, times the reference’s"),
    Measure("distinct_2_ratio", "Diversity", "distinct-2, times the reference’s; 1 keeps all variety", 2, False, True),
    Measure("words", "Length", "mean words", 1),
    Measure("ended_share", "Ended", "share that stopped by itself", 1, True, True),
)


MORE_MEASURES = (
    Measure("toxicity_rate", "Toxic", "share of answers", 1, True),
    Measure("refusal_rate", "Refused", "share that begins by refusing", 1, True),
    Measure("degenerate_share", "Degenerate", "empty, going round in circles, or signs instead of words", 1, True),
    Measure("repetition", "Repetition", "share of three-word runs said before in the same answer", 1, True),
    Measure("self_bleu", "Self-BLEU", "how much the answers are like one another"),
    Measure("token_entropy", "Entropy", "nats a token"),
    Measure("held_out_perplexity", "Perplexity on held-out text", "what alignment cost: lower is better"),
    Measure("reward_length_correlation", "Reward and length", "correlation over answers"),
    Measure("utility_length_correlation", "Judge and length", "the same by the judge"),
    Measure("bleu", "BLEU", "against reference answers", 1),
    Measure("chrf", "chrF", "against reference answers", 1),
    Measure("rouge_l", "ROUGE-L", "against reference answers"),
    Measure("exact_match", "Exact match", "with reference answers", 1, True),
    Measure("f1", "F1", "of words, against reference answers"),
    Measure("reference_loss", "Loss of the references", "nats a token: lower is better"),
)
"""What else changed; the results of standard tasks, ``TASK/METRIC``, come after."""


@dataclass(frozen=True, slots=True)
class Curves:
    """The charts of one training stage; ``more`` are folded away."""

    stage: str
    title: str
    pictures: Sequence[Picture]
    more: Sequence[Picture]


def write_report(
    run_dir: Path,
    out_dir: Path,
    title: str = "",
    extra_seconds: float = 0.0,
    hourly_price: float | None = None,
    currency: str = "",
) -> dict[str, Any]:
    """Write ``report.html`` and ``report.json`` on the run in ``run_dir`` into ``out_dir``; returns the JSON figures.

    ``title`` heads the page (the run's name when empty).  ``extra_seconds`` of wall time are added to those that the
    stages' manifests give; an hour of the machine costs ``hourly_price`` in ``currency``.  Both files are written aside
    and renamed: a reader never sees half a page.  Raises :class:`~assent.errors.RunError` when the run holds no stage
    or a damaged file.
    """
    report = extract(run_dir, title, extra_seconds)
    report = replace(report, hourly_price=hourly_price, currency=currency)
    found = figures(report)
    page = render(report)
    write_page(out_dir, {"report.html": page, "report.json": json.dumps(found, indent=2) + "\n"})
    return found


def write_page(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the named files into a folder, each aside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        aside = folder / f".{name}.part"
        aside.write_text(text, encoding="utf-8")
        aside.replace(folder / name)


def render(report: Report) -> str:
    """The page as HTML text, with everything that it needs inside."""
    from assent.reports.draw import policy_variable  # matplotlib: only where pictures are drawn

    names = [policy.name for policy in report.policies]
    shown, scale = _some(report.samples), _scale(report.samples)
    upstream = {stage.name: stage.upstream for stage in report.stages}
    return (
        templates()
        .get_template("report.html")
        .render(
            report=report,
            verdict=verdict(report),
            match=reference_match(report, report.main) if report.main else None,
            match_of={policy.name: reference_match(report, policy) for policy in report.policies},
            measures=_measured(MEASURES, report),
            more_measures=_measured([*MORE_MEASURES, *_tasks(report)], report),
            elo=_ratings_scale(report),
            colour={name: policy_variable(names, name) for name in names},
            samples=[(sample, spans(sample, scale)) for sample in shown],
            scale=scale,
            judge=judge_phrase(report),
            rounds=read_rounds(report.stages),
            sampled_kl=any(any(text.token_kl) for sample in shown for text in sample.completions.values()),
            layouts={"across": lay_out(upstream), "down": lay_out(upstream, across=False)},
            slowest=max((stage.seconds or 0 for stage in report.stages), default=0) or 1,
            wording=wording,
            **_pictures(report),
        )
    )


def templates() -> Environment:
    """The pages' templates, with the filters that they use."""
    environment = Environment(
        loader=PackageLoader("assent.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("label", "share", "number", "count", "duration", "interval"):
        environment.filters[name] = getattr(wording, name)
    environment.filters["svg"] = Markup
    environment.filters["flat"] = flat
    environment.filters["day"] = day
    return environment


def _measured(measures: Sequence[Measure], report: Report) -> list[Measure]:
    return [measure for measure in measures if any(measure.key in policy.figures for policy in report.policies)]


def _tasks(report: Report) -> list[Measure]:
    """The standard tasks that were measured."""
    names = dict.fromkeys(key for policy in report.policies for key in policy.figures if "/" in key)
    return [Measure(name, name.replace("/", ", "), "standard task", 3) for name in names]


def _ratings_scale(report: Report) -> tuple[float, float]:
    """Least and greatest Elo that the track shows."""
    bounds = [0.0, *(x for rating in report.evidence.ratings for x in (rating.low, rating.high))]
    return min(bounds), max(max(bounds), min(bounds) + 1)


def _pictures(report: Report) -> dict[str, Any]:
    from assent.reports import draw

    ceiling = report.reward_model.ceiling if report.reward_model else None
    curves = []
    for training in report.trainings:
        # The ceiling is that of held-out comparisons, which the reward model and direct preference optimisation learn.
        pictures = draw.training_pictures(training, draw.PANELS, ceiling if training.kind == "reward" else None)
        more = draw.training_pictures(training, draw.MORE_PANELS)
        if pictures or more:
            curves.append(Curves(training.stage, wording.label(training.stage), pictures, more))
    bins = report.reward_model.calibration if report.reward_model else ()
    return {
        "frontier": draw.frontier_pictures(report),
        "reward_curves": [(c, p) for c in report.evidence.curves if (p := draw.reward_curve_picture(c))],
        "curves": curves,
        "calibration": draw.calibration_picture(bins) if bins else None,
    }


def spans(sample: Sample, scale: float) -> dict[str, list[tuple[str, str, str, str]]]:
    """Per policy the pieces of its text: ``(text, class, strength, tip)``.

    The class is ``up`` where the policy finds the token likelier than the reference does, ``down`` where less likely;
    the strength is ``|log ratio| / scale`` up to 1.
    """
    return {name: _pieces(each, scale) for name, each in sample.completions.items()}


def _pieces(each: SampleText, scale: float) -> list[tuple[str, str, str, str]]:
    if not any(each.token_kl):
        return [(each.text.strip(), "", "", "")]
    tokens = aligned([wording.token_text(token) for token in each.tokens], each.text)
    tokens[0] = tokens[0].lstrip()
    out = []
    for text, kl in zip(tokens, each.token_kl, strict=True):
        strength = min(1.0, abs(kl) / scale)
        kind = ("up" if kl > 0 else "down") if strength >= 0.08 else ""
        out.append((text, kind, f"{strength:.2f}", f"{wording.number(kl)} nats"))
    return out


def aligned(tokens: Sequence[str], text: str) -> list[str]:
    """Tokens with the white space before them that ``text`` has, where decoding one by one lost it.

    A character in several tokens, each of which decodes to U+FFFD, shows with the token after it.  A token that is not
    next in the text, such as the end of sequence, is set off by a space.
    """
    out, at, broken = [], 0, False
    for token in tokens:
        bare = token.strip()
        start = text.find(bare or token, at)
        if "\ufffd" in token:
            out.append("")
            broken = True
        elif start >= 0 and (broken or not text[at:start].strip()):
            end = start + len(bare or token)
            out.append(text[at:end])
            at, broken = end, False
        else:
            out.append(token if not bare or token[:1].isspace() else f" {token}")
    if broken:
        out[-1] += text[at:]
    return out


def _scale(samples: Sequence[Sample]) -> float:
    """The log ratio that is shown at full strength: the 95th percentile over all tokens, so outliers do not pale it."""
    sizes = sorted(abs(kl) for s in samples for text in s.completions.values() for kl in text.token_kl if kl)
    return sizes[math.ceil(0.95 * len(sizes)) - 1] if sizes else 1.0


def _some(samples: Sequence[Sample]) -> list[Sample]:
    if len(samples) <= MAX_SAMPLES:
        return list(samples)
    return [samples[i * len(samples) // MAX_SAMPLES] for i in range(MAX_SAMPLES)]


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as ``(dotted name, value)``, in their order."""
    out: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            out += flat(value, f"{prefix}{name}.")
        else:
            out.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, default=str)))
    return out


def day(created: Any) -> str:
    """A manifest's time of creation (seconds since the epoch, or ISO text) as ``2026-05-28 20:26 UTC``."""
    if isinstance(created, (int, float)) and math.isfinite(created):
        return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return str(created or "")
