"""The people behind an artifact, what must be made again without one of them, and the lineage as a picture."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.data.rows import read_rows
from assent.errors import DataError, RunError
from assent.reports.lineage import lay_out
from assent.runs.digest import SHORT
from assent.runs.folder import STAGES
from assent.runs.lineage import Node, trace
from assent.runs.manifest import find_manifest, has_manifest

_PERSON = ("annotator", "author", "worker")
_ASKS = ("collect", "live")
"""Kinds of stages that people answer in."""
_COLLECTED = ("rankings.jsonl", "judgements.jsonl", "demonstrations.jsonl")
_DATA = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz")


@dataclass(frozen=True, slots=True)
class People:
    """Who wrote how many rows of one file: of demonstrations, rankings, labels or comparisons."""

    stage: Node
    """The stage that made the file, or read it."""
    made: bool
    """Whether it made it."""
    file: str
    rows: Mapping[str, int]


def every_stage(nodes: Sequence[Node]) -> list[Node]:
    """The stages of a lineage, each once, those that others read before them."""
    found: dict[Path, Node] = {}

    def visit(node: Node) -> None:
        if node.folder not in found:
            for _, parent in node.inputs:
                if parent is not None:
                    visit(parent)
            found[node.folder] = node

    for node in nodes:
        visit(node)
    return list(found.values())


def people(nodes: Sequence[Node]) -> list[People]:
    """The people behind each file that no stage made, and behind what the stages that ask wrote down."""
    found: list[People] = []
    for node in every_stage(nodes):
        for item, parent in node.inputs:
            rows = _people_in(Path(item.path)) if item.path and parent is None and item.artifact in ("data", "") else {}
            if rows:
                found.append(People(node, False, str(item.path), rows))
        for name in _COLLECTED if node.manifest.kind in _ASKS else ():
            rows = _people_in(node.folder / name)
            if rows:
                found.append(People(node, True, f"{node.folder.name}/{name}", rows))
    return found


def _people_in(file: Path) -> dict[str, int]:
    """Person -> rows; empty for a file that is gone, or that names nobody."""
    if not file.is_file() or not file.name.endswith(_DATA):
        return {}
    counts: Counter[str] = Counter()
    try:
        for row in read_rows(file):
            names = (row.values.get(key) for key in _PERSON)
            counts.update(next(([name] for name in names if isinstance(name, str) and name), []))
    except DataError:
        return {}  # it was edited since; what reads it next says so
    return dict(counts)


def people_as_text(found: Sequence[People]) -> str:
    """The people behind it, a line a person and file; empty where none is known."""
    lines = [
        f"  {name}: {count} rows of {item.file}, {'made' if item.made else 'read'} by {item.stage.manifest.stage}"
        for item in found
        for name, count in sorted(item.rows.items())
    ]
    return "\n".join(["people behind it:", *lines]) if lines else ""


def people_as_json(found: Sequence[People]) -> list[dict[str, Any]]:
    """The same as plain JSON types."""
    return [
        {"stage": item.stage.manifest.stage, "made": item.made, "file": item.file, "rows": dict(item.rows)}
        for item in found
    ]


# --- without a person ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What a person's answers reached."""

    annotator: str
    stages: Sequence[tuple[Node, str]]
    """The stages to be made again, in the order in which they run, and why."""
    remedies: Sequence[str]
    """What to do so that a run of the recipe makes exactly these again."""


def forget(path: str | Path, annotator: str) -> Forgetting:
    """What must be made again without a person's answers: in the run that ``path`` lies in, else in its lineage.

    Raises :class:`RunError` when no finished stage made it, or nobody of that name had a part in it.
    """
    nodes = trace(path)
    stages = every_stage([*_of_run(path), *nodes])
    sources: dict[Path, list[People]] = {}
    for item in people(stages):
        if annotator in item.rows:
            sources.setdefault(item.stage.folder, []).append(item)
    if not sources:
        known = sorted({name for item in people(stages) for name in item.rows})
        raise RunError(f"{path}: no answer of '{annotator}' is behind it; known are {', '.join(known) or 'none'}")
    reached: dict[Path, str] = {}
    for node in stages:  # parents come first
        if node.folder in sources:
            rows = sum(item.rows[annotator] for item in sources[node.folder])
            reached[node.folder] = f"{'made' if sources[node.folder][0].made else 'read'} {rows} rows of theirs"
            continue
        parents = [p.manifest.stage for _, p in node.inputs if p is not None and p.folder in reached]
        if parents:
            reached[node.folder] = f"reads {', '.join(dict.fromkeys(parents))}"
    remedies = [_remedy(item, annotator) for found in sources.values() for item in found]
    return Forgetting(
        annotator,
        [(node, reached[node.folder]) for node in stages if node.folder in reached],
        list(dict.fromkeys(remedies)),
    )


def _of_run(path: str | Path) -> Iterator[Node]:
    """The stages that stand in the run now: those its links name."""
    start = find_manifest(path) or Path(path).resolve()
    run = start.parent.parent if start.parent.name == STAGES else start
    for link in sorted(run.iterdir()) if (run / STAGES).is_dir() else ():
        if link.is_symlink() and has_manifest(link):
            yield from trace(link.resolve())


def _remedy(item: People, annotator: str) -> str:
    if item.made:
        return f"run the recipe again with --set {item.stage.manifest.stage}.without=[{annotator}]"
    return f"take their rows out of {item.file}, and run the recipe again"


def forgetting_as_text(found: Forgetting) -> str:
    """What to make again, and how, for people."""
    width = max(len(node.manifest.stage) for node, _ in found.stages)
    lines = [f"without {found.annotator}, {len(found.stages)} stages must be made again:"]
    lines += [
        f"  {node.manifest.stage:<{width}}  {node.manifest.identity[:SHORT]}  {why}" for node, why in found.stages
    ]
    return "\n".join([*lines, *found.remedies])


def forgetting_as_json(found: Forgetting) -> dict[str, Any]:
    """The same as plain JSON types."""
    stages = [
        {
            "stage": node.manifest.stage,
            "kind": node.manifest.kind,
            "identity": node.manifest.identity,
            "folder": str(node.folder),
            "reason": why,
        }
        for node, why in found.stages
    ]
    return {"annotator": found.annotator, "stages": stages, "remedies": list(found.remedies)}


# --- a picture -------------------------------------------------------------------------------------------------------

_STYLE = (
    "rect{fill:#fff;stroke:#8a8f98;stroke-width:1.2}.file rect{stroke-dasharray:4 3}"
    "path{fill:none;stroke:#8a8f98;stroke-width:1.2}marker path{fill:#8a8f98;stroke:none}"
    "text{text-anchor:middle;font:600 12px system-ui,sans-serif;fill:#1b1f24}"
    "text.less{font-weight:400;font-size:10.5px;fill:#5b616a}"
)


def as_svg(nodes: Sequence[Node]) -> str:
    """The lineage as an SVG picture: a box a stage, a dashed one a file that no stage made, arrows to who reads it."""
    boxes: dict[str, tuple[str, str, str]] = {}  # name -> label, second line, whole text
    upstream: dict[str, list[str]] = {}
    persons = {(str(item.stage.folder), item.made): item for item in people(nodes)}
    for node in every_stage(nodes):
        sources: list[str] = []
        for item, parent in node.inputs:
            if parent is not None:
                sources.append(str(parent.folder))
                continue
            leaf = f"{item.source} {item.digest}"
            read = persons.get((str(node.folder), False))
            second = _persons(read) if read and read.file == item.path else item.artifact
            boxes.setdefault(leaf, (Path(item.source).name, second, item.path or item.source))
            upstream.setdefault(leaf, [])
            sources.append(leaf)
        made, manifest = persons.get((str(node.folder), True)), node.manifest
        second = _persons(made) if made else manifest.identity[:SHORT]
        boxes[str(node.folder)] = (manifest.stage, second, f"{manifest.stage} ({manifest.kind}) {manifest.identity}")
        upstream[str(node.folder)] = list(dict.fromkeys(sources))
    drawn = lay_out(upstream)
    stages = {str(node.folder) for node in every_stage(nodes)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawn.width:g} {drawn.height:g}" '
        f'width="{drawn.width:g}" height="{drawn.height:g}" role="img" aria-label="Lineage"><style>{_STYLE}</style>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0.5L7 4L0 7.5z"/></marker></defs>',
        *(f'<path d="{edge.path}" marker-end="url(#head)"/>' for edge in drawn.edges),
    ]
    width, height = drawn.box
    for box in drawn.nodes:
        label, second, whole = (html.escape(text) for text in boxes[box.name])
        parts.append(
            f'<g class="{"stage" if box.name in stages else "file"}"><title>{whole}</title>'
            f'<rect x="{box.x - width / 2:g}" y="{box.y - height / 2:g}" width="{width:g}" height="{height:g}" rx="7"/>'
            f'<text x="{box.x:g}" y="{box.y - 1:g}">{_cut(label)}</text>'
            f'<text class="less" x="{box.x:g}" y="{box.y + 12:g}">{second}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _persons(item: People) -> str:
    return f"{len(item.rows)} people, {sum(item.rows.values())} rows"


def _cut(label: str) -> str:
    return label if len(label) <= 15 else label[:14] + "…"
