"""From a run folder to the records of a report: reads files, computes, draws nothing.

Every file and every key may be missing, because a run may be half done or of a recipe without that part.  A file that
is there and cannot be read is an error that names it; a torn last line of a log, which a killed run leaves, is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from assent.errors import RunError
from assent.evaluation.win_rates import WinRate
from assent.reports.records import (
    Annotator,
    Calibration,
    Feedback,
    Match,
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

T = TypeVar("T")


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
    manifests = {name: _read_object(path / "manifest.json") for name, path in folders.items()}
    identities = {str(m["identity"]): name for name, m in manifests.items() if m.get("identity")}
    resolved = {path.resolve(): name for name, path in folders.items()}
    stages = {}
    for name, manifest in manifests.items():
        upstream = {
            source
            for text in [*_strings(manifest.get("inputs")), *_strings(manifest.get("settings"))]
            if (source := _source(text, run_dir, identities, resolved)) and source != name
        }
        seconds = _number(manifest.get("wall_seconds"))
        stages[name] = StageRun(
            name=name,
            kind=str(manifest.get("kind") or name),
            identity=str(manifest.get("identity") or ""),
            seconds=seconds,
            tokens_per_second=read_throughput(folders[name] / "timing.jsonl"),
            phases=read_phases(folders[name] / "timing.jsonl"),
            created=manifest.get("created"),
            settings=_mapping(manifest.get("settings")),
            metrics=_mapping(manifest.get("metrics")),
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
    for row in _read_lines(folder / "metrics.jsonl"):
        step = _number(row.get("step"))
        for name, value in row.items():
            number = _number(value)
            if name != "step" and step is not None and number is not None:
                # A step that a resumed run took again replaces what the killed run had logged.
                points.setdefault(name, {})[step] = number
    series = {}
    for name, found in points.items():
        steps = sorted(found)
        series[name] = Series(tuple(steps), tuple(found[step] for step in steps))
    return Training(stage.name, stage.kind, series)


def read_throughput(path: Path) -> float | None:
    """Tokens per second over all rows of a ``timing.jsonl``; ``None`` when it is missing or has none."""
    rows = [(_number(row.get("tokens")), _number(row.get("seconds"))) for row in _read_lines(path)]
    whole = [(tokens, seconds) for tokens, seconds in rows if tokens is not None and seconds is not None]
    seconds = sum(seconds for _, seconds in whole)
    tokens = sum(tokens for tokens, _ in whole)
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def read_phases(path: Path) -> tuple[PhaseTime, ...]:
    """The phases of a ``timing.jsonl``, summed over its rows."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in _read_lines(path):
        for name, found in _mapping(row.get("phases")).items():
            rows.setdefault(name, []).append(_mapping(found))

    def total(name: str, key: str) -> float:
        return sum(_number(row.get(key)) or 0.0 for row in rows[name])

    out: list[PhaseTime] = []
    for name in rows:
        seconds, flops = total(name, "seconds"), total(name, "flops")
        # A share is flops / (seconds * peak): the peak's seconds are what the shares weigh together by.
        at_peak = sum((_number(row.get("share")) or 0.0) * (_number(row.get("seconds")) or 0.0) for row in rows[name])
        share = at_peak / seconds if at_peak and seconds else None
        out.append(PhaseTime(name, seconds, total(name, "tokens"), flops, share))
    return tuple(out)


def read_evaluation(report: Report, folder: Path) -> Report:
    """The report with what the evaluate stage found."""
    path = folder / "evaluation.json"
    found = _read_object(path)
    try:
        policies = tuple(
            Policy(name, {key: number for key, value in figures.items() if (number := _number(value)) is not None})
            for name, figures in _mapping(found.get("policies")).items()
        )
        reference = str(found.get("reference") or ("sft" if any(p.name == "sft" for p in policies) else ""))
        main = main_policy(policies, reference)
        return replace(
            report,
            judge=str(found.get("judge") or ""),
            judge_kind=str(found.get("judge_kind") or ""),
            reference=reference,
            policies=policies,
            matches=tuple(_match(row) for row in found.get("win_rates") or ()),
            reward_model=_optional(found.get("reward_model"), _reward_model),
            feedback=_optional(found.get("feedback"), _feedback),
            samples=tuple(
                _sample(row, main.name if main else "", reference) for row in _read_lines(folder / "samples.jsonl")
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: not an evaluation that this version writes ({error!r}); evaluate again") from None


def _match(row: Mapping[str, Any]) -> Match:
    counts = {name: int(row.get(name) or 0) for name in ("wins", "ties", "losses")}
    n = int(row.get("n") or sum(counts.values()))
    result = WinRate(**counts, rate=float(row["rate"]), low=float(row["low"]), high=float(row["high"]), n=n)
    return Match(str(row["policy"]), str(row["against"]), result)


def _reward_model(row: Mapping[str, Any]) -> RewardModel | None:
    accuracy = _number(row.get("accuracy"))
    if accuracy is None:
        return None
    return RewardModel(
        accuracy=accuracy,
        low=_number(row.get("low")),
        high=_number(row.get("high")),
        ceiling=_number(row.get("ceiling")),
        n=_optional(row.get("n"), int),
        calibration=tuple(
            Calibration(float(each["predicted"]), float(each["observed"]), int(each["n"]))
            for each in row.get("calibration") or ()
        ),
        quality=read_quality(row),
    )


def _feedback(row: Mapping[str, Any]) -> Feedback:
    return Feedback(
        annotators=tuple(
            Annotator(str(each["name"]), int(each["answers"]), _number(each.get("agreement_with_truth")))
            for each in row.get("annotators") or ()
        ),
        rankings=_optional(row.get("rankings"), int),
        comparisons=_optional(row.get("comparisons"), int),
        ties_share=_number(row.get("ties_share")),
        failed_share=_number(row.get("failed_share")),
        alpha=_number(row.get("alpha")),
        simulated=_optional(row.get("simulated"), bool),
    )


def _sample(row: Mapping[str, Any], main: str, reference: str) -> Sample:
    completions = {}
    for name, each in _mapping(row.get("completions")).items():
        tokens, kl = tuple(each.get("tokens") or ()), tuple(_number(x) or 0.0 for x in each.get("token_kl") or ())
        whole = len(tokens) == len(kl)
        completions[name] = SampleText(
            text=str(each.get("text") or ""),
            utility=_number(each.get("utility")),
            reward=_number(each.get("reward")),
            tokens=tokens if whole else (),
            token_kl=kl if whole else (),
        )
    return Sample(str(row.get("prompt") or ""), completions, _gain(completions.get(main), completions.get(reference)))


def _gain(mine: SampleText | None, theirs: SampleText | None) -> float | None:
    if mine is None or theirs is None:
        return None
    for a, b in ((mine.utility, theirs.utility), (mine.reward, theirs.reward)):
        if a is not None and b is not None:
            return a - b
    return None


def _inputs(found: Any) -> dict[str, str]:
    """The inputs of a manifest: a list of records with ``name`` and ``source``, or a mapping of names to anything."""
    if isinstance(found, Mapping):
        return {str(name): next(_strings(value), "") for name, value in found.items()}
    rows = [row for row in found or () if isinstance(row, Mapping) and "name" in row]
    return {str(row["name"]): str(row.get("source") or row.get("path") or "") for row in rows}


def _versions(manifest: Mapping[str, Any]) -> dict[str, Any]:
    code = {"assent": manifest["code"]} if manifest.get("code") else {}
    named = {name: manifest[name] for name in ("hardware",) if manifest.get(name)}
    return {**code, **_mapping(manifest.get("packages")), **_mapping(manifest.get("versions")), **named}


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


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when the file is not there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}); run the stage again") from None
    if not isinstance(found, dict):
        raise RunError(f"{path}: expected a JSON object; run the stage again")
    return found


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a JSON Lines file; empty when the file is not there."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")  # splitlines would also cut at U+2028
    except FileNotFoundError:
        return []
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise RunError(f"{path}, line {number}: not JSON; run the stage again") from None
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _number(value: Any) -> float | None:
    """A finite number, or ``None`` for anything else (JSON's ``NaN`` included)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _optional(value: Any, build: Callable[[Any], T]) -> T | None:
    return None if value is None else build(value)
