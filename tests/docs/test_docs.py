"""What the documentation says exists does: commands, options, settings, links, files, metrics, columns, keys."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import assent
from assent.algorithms import ALGORITHMS, load_algorithm
from assent.cli import cli
from assent.config import make_settings
from assent.data import readers
from assent.evaluation.alarm import Alarm, AlarmPoint
from assent.evaluation.bradley_terry import Rating
from assent.evaluation.groups import Gap
from assent.evaluation.over_optimisation import CurvePoint, EarlyStopping, OverOptimisation
from assent.evaluation.references import ReferenceScores
from assent.evaluation.win_rates import WinRate
from assent.pipeline.recipe import load_recipe, parse_recipe
from assent.pipeline.run import stage_spec
from assent.pipeline.schema import load_stage
from assent.pipeline.stages import contests, evaluate, frontier, lost, measured
from assent.pipeline.verbs import stage_command
from assent.reports import summary
from assent.testing.algorithm import synthetic_batch, toy_forward, toy_policy

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "src/assent/pipeline/templates/README.md",
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LOOP_METRICS = {"learning_rate", "grad_norm", "epoch", "engine_mismatch", "updates", "eval_loss", "eval_accuracy"}
"""What the loop and the evaluation log beside an algorithm's own figures."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each code block."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def typed_lines() -> Iterator[Any]:
    for page in PAGES:
        for _, block in fences(page):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.split(r"\s{3,}", line.strip().removeprefix(".venv/bin/"))[0]  # what follows is a remark
                if command.startswith("assent "):
                    yield pytest.param(command, id=f"{name_of(page)}: {command[:60]}")


def mentioned() -> Iterator[Any]:
    """Commands in running text and tables: `assent report [RUN]`."""
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for command in sorted(set(re.findall(r"`(assent [^`]+)`", text))):
            yield pytest.param(command, id=f"{name_of(page)}: {command}")


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the words left over."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        found = command.get_command(context, words[0])
        assert found is not None, f"no verb '{words[0]}'"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("line", list(typed_lines()))
def test_a_command_line_parses_and_its_settings_pass(line):
    words = shlex.split(line)[1:]
    command, rest = find(words)
    if "--help" in rest or isinstance(command, click.Group):
        return
    if words[0] not in cli.commands:  # a stage alone: its own settings are checked too
        checked: list[str] = []

        def check(kind: str, settings: Mapping[str, Any], out: str, seed: int, overwrite: bool, nproc: int) -> None:
            stage_spec(kind, settings, seed)
            checked.append(kind)

        stage_command(words[0], check).main(rest, standalone_mode=False)
        assert checked == [words[0]]
        return
    context = command.make_context(words[0], list(rest))
    recipe = context.params.get("recipe")
    if recipe and (ROOT / recipe).exists():
        load_recipe(ROOT / recipe, context.params["overrides"], people=context.params["people"])


@pytest.mark.parametrize("line", list(mentioned()))
def test_a_command_in_the_text_exists(line):
    words = line.split()[1:]
    command, rest = find(words)
    known = {option for param in command.params for option in param.opts + param.secondary_opts} | {"--help"}
    assert {word.strip("[]") for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page):
    links = [link.partition("#")[0] for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))]
    local = [link for link in links if link and "://" not in link and not link.endswith(".png")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_pictures_are_there():
    for page in PAGES:
        pictures = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if link.endswith(".png")]
        assert [link for link in pictures if not (page.parent / link).exists()] == []


def tree() -> list[str]:
    """Paths in README's tree, by their indentation; a line may name several files, with commas."""
    block = next(text for _, text in fences(ROOT / "README.md") if text.startswith("src/assent/"))
    above: list[str] = []
    paths: list[str] = []
    for line in block.splitlines():
        depth, entries = (len(line) - len(line.lstrip())) // 2, re.split(r"\s{2,}", line.strip())[0]
        for entry in filter(None, re.split(r",\s*", entries)):
            above = [*above[:depth], entry]
            paths.append("".join(above))
    return paths


@pytest.mark.parametrize("path", tree())
def test_the_tree_is_true(path):
    found = ROOT / path
    assert found.is_dir() if path.endswith("/") else found.is_file()


def test_the_tree_names_every_algorithm():
    assert {f"src/assent/algorithms/{module}.py" for module in ALGORITHMS.values()} - set(tree()) == set()


def test_the_tree_names_every_package():
    packages = {f"{name_of(path.parent)}/" for path in (ROOT / "src/assent").glob("*/__init__.py")}
    assert packages - set(tree()) == set()


def page_of(name: str) -> str:
    return (ROOT / "docs/algorithms" / f"{ALGORITHMS[name]}.md").read_text(encoding="utf-8")


def logged(name: str) -> set[str]:
    """The names that an algorithm logs, found by running it."""
    algorithm = load_algorithm(name)
    settings = algorithm.Settings()
    batch, _, figures = algorithm.prepare(synthetic_batch(), settings, algorithm.initial_state(settings))
    loss = algorithm.loss(toy_forward(toy_policy(0), batch, algorithm.outputs), batch, settings)
    return {*figures, *loss.metrics}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_metric_is_on_the_algorithms_page_and_none_besides(name):
    metrics = page_of(name).partition("## Metrics")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in metrics.splitlines() if line.startswith("| `")]
    described = {metric for row in rows for metric in re.findall(r"`([^`]+)`", row)}
    assert logged(name) - described == set()
    assert described - logged(name) - LOOP_METRICS == set()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_setting_of_an_algorithm_is_on_its_page(name):
    page = page_of(name)
    assert [field for field in load_algorithm(name).Settings.model_fields if f"`{field}`" not in page] == []


def test_every_page_of_an_algorithm_has_one():
    pages = {path.stem for path in (ROOT / "docs/algorithms").glob("*.md")}
    assert pages == set(ALGORITHMS.values())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_its_curve(name):
    assert f"](curves/{name}.png)" in page_of(name)
    curves = json.loads((ROOT / f"docs/algorithms/curves/{name}.json").read_text())
    for points in curves.values():
        assert len(points) >= 3
        assert [point["samples"] for point in points] == sorted({point["samples"] for point in points})


def examples() -> list[Any]:
    text = (ROOT / "docs/data-formats.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- reads as: (\w+) -->\n```json\n(.*?)```", text, re.DOTALL)
    return [pytest.param(kind, row, id=f"{kind}: {row[:50]}") for kind, block in found for row in block.splitlines()]


@pytest.mark.parametrize(("kind", "row"), examples())
def test_the_examples_of_data_are_read(kind, row, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(row + "\n", encoding="utf-8")
    assert kind in readers.describe(path)
    assert len(getattr(readers, f"read_{kind}")(path)) == 1


def test_every_reader_has_an_example():
    kinds = {name.removeprefix("read_") for name in readers.__all__ if name.startswith("read_")}
    assert {param.values[0] for param in examples()} == kinds - {"jsonl", "rows"}


def keys_in(function: Any) -> set[str]:
    """The texts in a function's body that could be keys."""
    body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(body, ast.FunctionDef)
    texts = {node.value for node in ast.walk(body) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"[a-z_0-9]+", text)}


def test_the_guide_explains_every_key_of_the_report():
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    keys = keys_in(summary.figures)
    assert {"win_rate", "reward_model_ceiling"} <= keys
    assert [key for key in sorted(keys) if f"`{key}`" not in guide] == []


def test_the_page_on_evidence_explains_every_figure_of_a_policy():
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    makers = (measured.Measuring.measure, measured.Measuring.measure_snapshot, measured.Measuring._score_figures)
    keys = set().union(*map(keys_in, (*makers, lost.text_figures, lost.reference_figures))) - {"stop", "n"}
    keys |= fields_of(ReferenceScores)
    assert {"kl", "utility", "held_out_perplexity", "distinct_2"} <= keys
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def fields_of(*records: type) -> set[str]:
    return {field.name for record in records for field in dataclasses.fields(record)}


def test_the_page_on_evidence_explains_every_key_of_the_evaluation():
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    keys = fields_of(WinRate, Rating, CurvePoint, OverOptimisation, EarlyStopping, Alarm, AlarmPoint, Gap)
    makers = (evaluate._result, evaluate._curves, frontier.curve_record, frontier.exploited)
    keys |= set().union(*map(keys_in, (*makers, contests.reward_accuracy, contests.detectable))) - {"_ratio"}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_the_recipes_on_the_page_of_rounds_pass_every_check():
    blocks = [text for language, text in fences(ROOT / "docs/rounds.md") if language == "yaml"]
    whole = [text for text in blocks if text.startswith("stages:")]
    mixture = yaml.safe_load(next(text for text in whole if "judged:" in text))
    (program,) = (yaml.safe_load(text) for text in blocks if text.strip().startswith("judge:"))
    mixture["stages"]["round"]["stages"] |= program
    for text in (*whole, yaml.safe_dump(mixture, sort_keys=False)):
        for spec in parse_recipe(text, "docs/rounds.md").stages:
            make_settings(load_stage(spec.kind).Settings, dict(spec.values), spec.title)


def python_calls() -> list[Any]:
    blocks = [block for page in PAGES for language, block in fences(page) if language == "python"]
    calls = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    return [pytest.param(call, id=ast.unparse(call)) for call in calls]


@pytest.mark.parametrize("call", python_calls())
def test_the_calls_in_python_examples_fit(call):
    named = ast.unparse(call.func).split(".")
    assert named[0] == "assent"
    arguments = [ast.literal_eval(argument) for argument in call.args]
    keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    inspect.signature(getattr(assent, named[1])).bind(*arguments, **keywords)
