"""What a run comes to: the verdict in words, and the figures for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assent.reports.records import Match, PhaseTime, Policy, Report, StageRun
from assent.reports.wording import at_step, count, interval, label, number, share

PERPLEXITY_LIMIT = 1.5
"""Perplexity under the pretrained model, against that of the reference, above which text no longer looks like it."""
DIVERSITY_LIMIT = 0.7
"""Distinct-2 against that of the reference, below which a policy repeats itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first thing on the page.  ``parts`` are pieces of one sentence, the numbers among them marked."""

    parts: tuple[tuple[str, bool], ...]
    basis: tuple[str, ...] = ()
    """Who judged, and how many comparisons: what the sentence rests on."""
    cautions: tuple[str, ...] = ()
    """What speaks against believing it."""

    @property
    def sentence(self) -> str:
        """The sentence as plain text."""
        return "".join(text for text, _ in self.parts)


def verdict(report: Report) -> Verdict:
    """The verdict on the main policy, or a sentence that says what is still missing."""
    main, base = report.main, report.base
    if main is None:
        what = "This run has not been evaluated yet." if not report.policies else "Only one policy was evaluated."
        return Verdict(((what, False),))
    match = reference_match(report, main)
    kl = main.figures.get("kl")
    at_kl = [(" at ", False), (f"KL {number(kl)} nats", True)] if kl is not None else []
    judged = [(f", judged by {judge_phrase(report)}", False)] if report.judge else []
    positive = "positive_rate" in main.figures
    if match is not None and not (positive and report.judge_kind == "classifier"):
        parts = _won(match)
    elif positive:
        parts = _positive(main, base)
    else:
        parts, judged = [(f"{label(main.name)} was evaluated", False)], []
    cautions = (*_cautions(main, base, match), *_evidence_cautions(report, main, match))
    return Verdict((*parts, *at_kl, *judged, (".", False)), _basis(report, match), cautions)


def reference_match(report: Report, policy: Policy) -> Match | None:
    """The win rate of a policy against the reference; ``None`` when it was not measured."""
    return next((m for m in report.matches if m.policy == policy.name and m.against == report.reference), None)


def figures(report: Report) -> dict[str, Any]:
    """The figures of ``report.json``: those of the main policy, all policies and all win rates.

    A key whose inputs are missing is left out.  Rates and accuracies are shares, ``kl`` nats per completion, the ratios
    are against the reference policy, ``wall_seconds`` is the sum over stages.
    """
    out: dict[str, Any] = {}
    main, base = report.main, report.base
    if main is not None:
        match = reference_match(report, main)
        if match is not None:
            out |= {"win_rate": match.result.rate, "win_rate_low": match.result.low, "win_rate_high": match.result.high}
        for name in ("kl", "kl_se", "perplexity_ratio", "distinct_2_ratio", "positive_rate"):
            out[name] = main.figures.get(name)
        out["positive_rate_sft"] = base.figures.get("positive_rate") if base else None
    if report.reward_model is not None:
        out["reward_model_accuracy"] = report.reward_model.accuracy
        out["reward_model_ceiling"] = report.reward_model.ceiling
    out["wall_seconds"] = report.wall_seconds
    out["cost"] = report.cost(report.wall_seconds)
    out["stages"] = {stage.name: row for stage in report.stages if (row := _stage_row(report, stage))} or None
    out["phases"] = {stage.name: _phase_rows(stage.phases) for stage in report.stages if stage.phases} or None
    if report.policies:
        out["policies"] = {policy.name: dict(policy.figures) for policy in report.policies}
    if report.matches:
        out["win_rates"] = [_match_row(match) for match in report.matches]
    out |= _evidence_figures(report)
    if report.feedback is not None:
        known = asdict(report.feedback) | {"annotators": [asdict(each) for each in report.feedback.annotators]}
        out["feedback"] = {name: value for name, value in known.items() if value is not None}
    return {name: value for name, value in out.items() if value is not None}


def _stage_row(report: Report, stage: StageRun) -> dict[str, float]:
    row = {
        "seconds": stage.seconds,
        "tokens_per_second": stage.tokens_per_second,
        "share": stage.share,
        "cost": report.cost(stage.seconds),
    }
    return {name: value for name, value in row.items() if value is not None}


def _evidence_figures(report: Report) -> dict[str, Any]:
    found, out = report.evidence, {}
    if found.judges:
        out["judges"] = [
            {"judge": each.judge, "kind": each.kind, "win_rates": [_match_row(match) for match in each.matches]}
            for each in found.judges
        ]
    if found.ratings:
        out["ratings"] = {each.policy: {"elo": each.elo, "low": each.low, "high": each.high} for each in found.ratings}
    watched = [curve for curve in found.curves if curve.watched]
    if watched:
        out["alarm"] = {curve.name: curve.raised_at for curve in watched}
    if found.curves:
        out["peak_kl"] = {c.name: fit.peak_kl for c in found.curves for fit in c.fits if fit.reward == "gold"}
        out["early_stopping"] = {c.name: c.stopping.label for c in found.curves if c.stopping and c.stopping.advised}
    if found.gaps:
        out["clear_gaps"] = sum(gap.clear for gap in found.gaps)
    return out


def _phase_rows(phases: Sequence[PhaseTime]) -> dict[str, dict[str, float]]:
    """Phase -> its figures; what was not counted or measured is left out."""
    rows = {phase.name: {n: getattr(phase, n) for n in ("seconds", "tokens", "flops", "share")} for phase in phases}
    return {name: {key: value for key, value in row.items() if value} for name, row in rows.items()}


def _match_row(match: Match) -> dict[str, Any]:
    r = match.result
    counts = {
        "wins": r.wins,
        "ties": r.ties,
        "losses": r.losses,
        "rate": r.rate,
        "low": r.low,
        "high": r.high,
        "n": r.n,
    }
    ends = ("", "_low", "_high")
    equal = {f"length_controlled{end}": x for end, x in zip(ends, match.length_controlled or (), strict=False)}
    return {"policy": match.policy, "against": match.against, **counts, **equal}


def _won(match: Match) -> list[tuple[str, bool]]:
    mine, theirs, r = label(match.policy), label(match.against), match.result
    between = _between(r.low, r.high)
    if r.low > 0.5:
        return [(f"{mine} beats {theirs} on ", False), (share(r.rate), True), (" of held-out prompts", False), between]
    if r.high < 0.5:
        return [(f"{mine} loses to {theirs}: it wins ", False), (share(r.rate), True), (" of prompts", False), between]
    return [
        (f"{mine} cannot be told from {theirs}: it wins ", False),
        (share(r.rate), True),
        (" of held-out prompts", False),
        between,
    ]


def _between(low: float, high: float) -> tuple[str, bool]:
    return (f" ({share(0.95, 0)} interval {interval(low, high)})", False)


def _positive(main: Policy, base: Policy | None) -> list[tuple[str, bool]]:
    before = base.figures.get("positive_rate") if base else None
    parts = [
        (f"{label(main.name)} continues ", False),
        (share(main.figures["positive_rate"]), True),
        (" of held-out prompts positively", False),
    ]
    low, high = main.figures.get("positive_rate_low"), main.figures.get("positive_rate_high")
    if low is not None and high is not None:
        parts.append(_between(low, high))
    if base is not None and before is not None:
        parts.append((f", against {share(before)} for {label(base.name)},", False))
    return parts


def judge_phrase(report: Report) -> str:
    """The judge with its article; empty when nobody judged."""
    if not report.judge:
        return ""
    return report.judge if report.judge.lower().startswith(("the ", "a ", "an ", "people")) else f"the {report.judge}"


def _basis(report: Report, match: Match | None) -> tuple[str, ...]:
    said = []
    if match is not None:
        r = match.result
        told = report.evidence.detectable
        could = f" So many find a rate of {share(0.5 + told, 0)} four times in five." if told else ""
        said.append(
            f"{count(r.n)} comparisons: {count(r.wins)} won, {count(r.ties)} tied, {count(r.losses)} lost; "
            f"a tie counts half.{could}"
        )
    program = report.judge_kind in ("simulated", "function")
    feedback = report.feedback
    # An evaluation that calls its judge simulated and does not say whose the answers are has simulated those too.
    simulated = feedback is not None and (feedback.simulated or (feedback.simulated is None and program))
    if simulated and program:
        said.append("Annotators and judge are simulated: programs with a known taste, not people.")
    elif simulated:
        said.append("The annotators are simulated: programs with a known taste, not people.")
    if program and not simulated:
        said.append("The judge is a program, not people.")
    elif report.judge_kind in ("model", "classifier"):
        said.append("The judge is a model, not people.")
    elif report.judge_kind in ("people", "human"):
        said.append("The judges are people.")
    return tuple(said)


def _evidence_cautions(report: Report, main: Policy, match: Match | None) -> tuple[str, ...]:
    """What the alarm, other judges and lengths say against the main policy."""
    said: list[str] = []
    for curve in report.evidence.curves:
        if curve.name != main.name:
            continue
        if curve.raised_at is not None:
            said.append(
                f"Reward hacking: from {at_step(curve.raised_at)} on the reward rose while the judge's score fell."
            )
        if curve.stopping is not None and curve.stopping.advised:
            said.append(f"The judge likes the policy of {at_step(curve.stopping.label)} better than that of the end.")
    if match is not None and match.length_controlled is not None and match.result.low > 0.5:
        rate, low, high = match.length_controlled
        if low <= 0.5:
            said.append(f"At equal length it would win {share(rate)} ({interval(low, high)}): it may win by length.")
    for judged in report.evidence.judges:
        other = next((m for m in judged.matches if (m.policy, m.against) == (main.name, report.reference)), None)
        against = other is not None and other.result.high < 0.5 and judged.kind != "proxy"
        if match is not None and match.result.low > 0.5 and against:
            said.append(f"Another judge disagrees: {judged.judge}.")
    return tuple(said)


def _cautions(main: Policy, base: Policy | None, match: Match | None) -> tuple[str, ...]:
    said = []
    perplexity, distinct = main.figures.get("perplexity_ratio"), main.figures.get("distinct_2_ratio")
    if perplexity is not None and perplexity > PERPLEXITY_LIMIT:
        said.append(f"Perplexity is {number(perplexity)} times that of the reference: the text has drifted.")
    if distinct is not None and distinct < DIVERSITY_LIMIT:
        said.append(f"Distinct-2 is {number(distinct)} times that of the reference: the text repeats itself.")
    mine, theirs = main.figures.get("reward"), base.figures.get("reward") if base else None
    if match is not None and mine is not None and theirs is not None and mine > theirs and match.result.low <= 0.5:
        said.append("The reward model's score rose and the win rate did not: it may have been exploited.")
    return tuple(said)
