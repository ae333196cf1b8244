"""From a run folder to the records of a report: reads files, computes, draws nothing.

Every file and every key may be missing, because a run may be half done or of a recipe without that part.  A file that
is there and cannot be read is an error that names it; a torn last line of a log, which a killed run leaves, is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assent.errors import RunError
from assent.reports.evidence import read_evidence, read_match
from assent.reports.reading import mapping, number, optional, read_lines, read_object
from assent.reports.records import (
    Annotator,
    Calibration,
    Feedback,
    PhaseTime,
    Policy,
    Report,
    RewardModel,
    Sample,
    SampleText,
    Series,
    StageRun,
    Training,
    main_policy,
)
from assent.reports.reward_quality import read_quality


def extract(run_dir: Path, title: str = "", extra_seconds: float = 0.0) -> Report:
    """The report of the run in ``run_dir``.  ``extra_seconds`` of wall time are added to those of the stages.

    Raises :class:`~assent.errors.RunError` when the folder is not there, holds no stage or holds a damaged file.
    """
    if not run_dir.is_dir():
        raise RunError(f"{run_dir}: no such run folder; run a recipe first, or give the folder of one")
    folders = find_stages(run_dir)
    if not folders:
        raise RunError(f"{run_dir}: no stage has written anything here yet; run the recipe first")
    stages = read_stages(run_dir, folders)
    report = Report(
        title=title or run_dir.name,
        run=run_dir.name,
        stages=stages,
        trainings=tuple(read_training(stage, folders[stage.name]) for stage in stages if _has_metrics(folders, stage)),
        extra_seconds=extra_seconds,
    )
    evaluated = [stage.name for stage in stages if (folders[stage.name] / "evaluation.json").is_file()]
    return read_evaluation(report, folders[evaluated[-1]]) if evaluated else report


def find_stages(run_dir: Path) -> dict[str, Path]:
    """Name -> folder of each stage of a run; one that is still being made is found under its unfinished folder."""
    folders = {path.name: path for path in sorted(run_dir.iterdir()) if _is_stage(path)}
    for path in sorted(run_dir.glob("stages/*.partial")):
        if _is_stage(path):
            folders.setdefault(path.name.rpartition("-")[0], path)
    return folders


def read_stages(run_dir: Path, folders: Mapping[str, Path]) -> tuple[StageRun, ...]:
    """The stages of the named folders, each after those that it reads; otherwise in order of creation."""
    manifests = {name: read_object(path / "manifest.json") for name, path in folders.items()}
    identities = {str(m["identity"]): name for name, m in manifests.items() if m.get("identity")}
    resolved = {path.resolve(): name for name, path in folders.items()}
    stages = {}
    for name, manifest in manifests.items():
        upstream = {
            source
            for text in [*_strings(manifest.get("inputs")), *_strings(manifest.get("settings"))]
            if (source := _source(text, run_dir, identities, resolved)) and source != name
        }
        seconds = number(manifest.get("wall_seconds"))
        stages[name] = StageRun(
            name=name,
            kind=str(manifest.get("kind") or name),
            identity=str(manifest.get("identity") or ""),
            seconds=seconds,
            tokens_per_second=read_throughput(folders[name] / "timing.jsonl"),
            phases=read_phases(folders[name] / "timing.jsonl"),
            created=manifest.get("created"),
            settings=mapping(manifest.get("settings")),
            metrics=mapping(manifest.get("metrics")),
            inputs=_inputs(manifest.get("inputs")),
            versions=_versions(manifest),
            seed=manifest.get("seed"),
            upstream=tuple(sorted(upstream)),
            finished=bool(manifest),
        )
    return _ordered(stages)


def read_training(stage: StageRun, folder: Path) -> Training:
    """The metrics of one training stage; values that are not finite numbers are left out."""
    points: dict[str, dict[float, float]] = {}
    for row in read_lines(folder / "metrics.jsonl"):
        step = number(row.get("step"))
        for name, value in row.items():
            found = number(value)
            if name != "step" and step is not None and found is not None:
                # A step that a resumed run took again replaces what the killed run had logged.
                points.setdefault(name, {})[step] = found
    series = {}
    for name, found in points.items():
        steps = sorted(found)
        series[name] = Series(tuple(steps), tuple(found[step] for step in steps))
    return Training(stage.name, stage.kind, series)


def read_throughput(path: Path) -> float | None:
    """Tokens per second over all rows of a ``timing.jsonl``; ``None`` when it is missing or has none."""
    rows = [(number(row.get("tokens")), number(row.get("seconds"))) for row in read_lines(path)]
    whole = [(tokens, seconds) for tokens, seconds in rows if tokens is not None and seconds is not None]
    seconds = sum(seconds for _, seconds in whole)
    tokens = sum(tokens for tokens, _ in whole)
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def read_phases(path: Path) -> tuple[PhaseTime, ...]:
    """The phases of a ``timing.jsonl``, summed over its rows."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in read_lines(path):
        for name, found in mapping(row.get("phases")).items():
            rows.setdefault(name, []).append(mapping(found))

    def total(name: str, key: str) -> float:
        return sum(number(row.get(key)) or 0.0 for row in rows[name])

    out: list[PhaseTime] = []
    for name in rows:
        seconds, flops = total(name, "seconds"), total(name, "flops")
        # A share is flops / (seconds * peak): the peak's seconds are what the shares weigh together by.
        at_peak = sum((number(row.get("share")) or 0.0) * (number(row.get("seconds")) or 0.0) for row in rows[name])
        share = at_peak / seconds if at_peak and seconds else None
        out.append(PhaseTime(name, seconds, total(name, "tokens"), flops, share))
    return tuple(out)


def read_evaluation(report: Report, folder: Path) -> Report:
    """The report with what the evaluate stage found."""
    path = folder / "evaluation.json"
    found = read_object(path)
    try:
        policies = tuple(
            Policy(name, {key: size for key, value in figures.items() if (size := number(value)) is not None})
            for name, figures in mapping(found.get("policies")).items()
        )
        reference = str(found.get("reference") or ("sft" if any(p.name == "sft" for p in policies) else ""))
        main = main_policy(policies, reference)
        return replace(
            report,
            judge=str(found.get("judge") or ""),
            judge_kind=str(found.get("judge_kind") or ""),
            reference=reference,
            policies=policies,
            matches=tuple(read_match(row) for row in found.get("win_rates") or ()),
            evidence=read_evidence(found),
            reward_model=optional(found.get("reward_model"), _reward_model),
            feedback=_covered(optional(found.get("feedback"), _feedback), report.stages),
            samples=tuple(
                _sample(row, main.name if main else "", reference) for row in read_lines(folder / "samples.jsonl")
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: not an evaluation that this version writes ({error!r}); evaluate again") from None


def _reward_model(row: Mapping[str, Any]) -> RewardModel | None:
    accuracy = number(row.get("accuracy"))
    if accuracy is None:
        return None
    return RewardModel(
        accuracy=accuracy,
        low=number(row.get("low")),
        high=number(row.get("high")),
        ceiling=number(row.get("ceiling")),
        n=optional(row.get("n"), int),
        calibration=tuple(
            Calibration(float(each["predicted"]), float(each["observed"]), int(each["n"]))
            for each in row.get("calibration") or ()
        ),
        quality=read_quality(row),
    )


def _feedback(row: Mapping[str, Any]) -> Feedback:
    return Feedback(
        annotators=tuple(
            Annotator(str(each["name"]), int(each["answers"]), number(each.get("agreement_with_truth")))
            for each in row.get("annotators") or ()
        ),
        rankings=optional(row.get("rankings"), int),
        comparisons=optional(row.get("comparisons"), int),
        ties_share=number(row.get("ties_share")),
        failed_share=number(row.get("failed_share")),
        alpha=number(row.get("alpha")),
        simulated=optional(row.get("simulated"), bool),
    )


def _covered(feedback: Feedback | None, stages: Sequence[StageRun]) -> Feedback | None:
    """With how much of what was asked was answered, from the stages that asked."""
    asked = [s.metrics for s in stages if number(s.metrics.get("questions")) and "answered" in s.metrics]
    if feedback is None or not asked:
        return feedback
    questions, answered = (int(sum(number(m.get(key)) or 0 for m in asked)) for key in ("questions", "answered"))
    return replace(feedback, questions=questions, answered=answered)


def _sample(row: Mapping[str, Any], main: str, reference: str) -> Sample:
    completions = {}
    for name, each in mapping(row.get("completions")).items():
        tokens, kl = tuple(each.get("tokens") or ()), tuple(number(x) or 0.0 for x in each.get("token_kl") or ())
        whole = len(tokens) == len(kl)
        completions[name] = SampleText(
            text=str(each.get("text") or ""),
            utility=number(each.get("utility")),
            reward=number(each.get("reward")),
            tokens=tokens if whole else (),
            token_kl=kl if whole else (),
        )
    mine, theirs = completions.get(main), completions.get(reference)
    by_judge, by_reward = _gain(mine, theirs, "utility"), _gain(mine, theirs, "reward")
    gain = by_reward if by_judge is None else by_judge
    return Sample(str(row.get("prompt") or ""), completions, gain, None if by_judge is None else by_reward)


def _gain(mine: SampleText | None, theirs: SampleText | None, by: str) -> float | None:
    a, b = getattr(mine, by, None), getattr(theirs, by, None)
    return None if a is None or b is None else a - b


def _inputs(found: Any) -> dict[str, str]:
    """The inputs of a manifest: a list of records with ``name`` and ``source``, or a mapping of names to anything."""
    if isinstance(found, Mapping):
        return {str(name): next(_strings(value), "") for name, value in found.items()}
    rows = [row for row in found or () if isinstance(row, Mapping) and "name" in row]
    return {str(row["name"]): str(row.get("source") or row.get("path") or "") for row in rows}


def _versions(manifest: Mapping[str, Any]) -> dict[str, Any]:
    code = {"assent": manifest["code"]} if manifest.get("code") else {}
    named = {name: manifest[name] for name in ("hardware",) if manifest.get(name)}
    return {**code, **mapping(manifest.get("packages")), **mapping(manifest.get("versions")), **named}


def _is_stage(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in ("manifest.json", "metrics.jsonl"))


def _has_metrics(folders: Mapping[str, Path], stage: StageRun) -> bool:
    return (folders[stage.name] / "metrics.jsonl").is_file()


def _source(text: str, run_dir: Path, identities: Mapping[str, str], resolved: Mapping[Path, str]) -> str | None:
    """The stage that a string of a manifest points at: an identity, ``$stage/file``, or a path into its folder."""
    if text in identities:
        return identities[text]
    names = set(resolved.values())
    if text.startswith("$"):
        name = text[1:].split("/")[0]
        return name if name in names else None
    if "/" not in text or len(text) > 1000 or "\n" in text:
        return None
    for path in (Path(text), run_dir / text):
        whole = path.resolve()
        for folder in (whole, *whole.parents):
            if folder in resolved:
                return resolved[folder]
    return None


def _ordered(stages: Mapping[str, StageRun]) -> tuple[StageRun, ...]:
    waiting = sorted(stages.values(), key=lambda stage: (not stage.finished, str(stage.created or ""), stage.name))
    done: dict[str, StageRun] = {}
    while waiting:
        # Manifests of a content-addressed store cannot form a cycle; a damaged one must not hang the report.
        ready = next((s for s in waiting if all(name in done for name in s.upstream)), waiting[0])
        waiting.remove(ready)
        done[ready.name] = ready
    return tuple(done.values())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _strings(each)
