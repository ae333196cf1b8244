"""docs/migrating-from-trl.md against TRL's own lists of settings (tests/golden/trl-settings.json) and our schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assent.pipeline.schema import stage_schemas

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/migrating-from-trl.md").read_text(encoding="utf-8")
RECORDED: Mapping[str, Any] = json.loads((ROOT / "tests/golden/trl-settings.json").read_text(encoding="utf-8"))
SCHEMAS = stage_schemas()

TITLE = re.compile(r"^### (.+) → (?:`([a-z-]+)`|none)$", re.MULTILINE)
DEFAULTS = re.compile(r"default (\S+), ours (\S+?)(?=[:;.,]? |[:;.,]?$)")


@dataclass(frozen=True)
class Row:
    theirs: tuple[str, ...]
    ours: tuple[tuple[str, str, str | None], ...]
    """(stage, setting, value if the page names one)"""
    remark: str


@dataclass(frozen=True)
class Table:
    title: str
    trainers: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def names(self) -> list[str]:
        return [name for row in self.rows for name in row.theirs]

    def recorded(self, trainer: str) -> Mapping[str, Any]:
        if trainer == "All trainers":
            return RECORDED["common"]["settings"]
        return RECORDED["configs"][trainer.replace("Trainer", "Config")]["settings"]


def tables() -> Iterator[Table]:
    titles = list(TITLE.finditer(PAGE))
    ends = [match.start() for match in titles[1:]] + [len(PAGE)]
    for match, end in zip(titles, ends, strict=True):
        lines = [line for line in PAGE[match.end() : end].splitlines() if line.startswith("| `")]
        rows = tuple(row_of(line, match[2]) for line in lines)
        yield Table(match[0], tuple(match[1].split(", ")), rows)


def row_of(line: str, stage: str | None) -> Row:
    theirs, ours, remark = (cell.strip() for cell in line.strip("|").split("|"))
    settings = tuple(setting_of(text, stage) for text in re.findall(r"`([^`]+)`", ours))
    return Row(tuple(re.findall(r"`([^`]+)`", theirs)), settings, remark)


def setting_of(text: str, stage: str | None) -> tuple[str, str, str | None]:
    """``key``, ``stage.key``, each with or without ``: value``."""
    key, _, value = text.partition(": ")
    other, _, name = key.rpartition(".")
    return other or stage or "none", name, value or None


TABLES = {table.title: table for table in tables()}


def test_every_config_of_trl_has_a_table():
    trainers = [trainer for table in TABLES.values() for trainer in table.trainers]
    configs = [name if name == "ModelConfig" else name.replace("Config", "Trainer") for name in RECORDED["configs"]]

    assert sorted(trainers) == sorted(["All trainers", *configs])


def test_every_trainer_is_in_the_list_of_trainers():
    listed = PAGE.partition("## The trainers")[2].partition("\n## ")[0]
    trainers = {name.partition(" ")[0].replace("Config", "Trainer") for name in RECORDED["configs"]} - {"ModelTrainer"}

    assert [name for name in sorted(trainers) if f"`{name}`" not in listed] == []


@pytest.mark.parametrize("title", TABLES)
def test_a_table_has_every_setting_of_its_trainers_once_and_no_other(title):
    table = TABLES[title]
    recorded = {name for trainer in table.trainers for name in table.recorded(trainer)}

    assert len(recorded) >= 11, "too few to be all"
    assert sorted(table.names) == sorted(recorded)


@pytest.mark.parametrize("title", TABLES)
def test_our_settings_are_those_of_the_stage(title):
    named = [setting for row in TABLES[title].rows for setting in row.ours]

    assert named
    for stage, name, value in named:
        assert stage in SCHEMAS, f"no stage {stage} for {name}"
        assert name in SCHEMAS[stage].properties, f"{stage} has no setting {name}"
        allowed = SCHEMAS[stage].properties[name].get("enum")
        assert value is None or value in (allowed or [value]), f"{stage}.{name} cannot be {value}"


@pytest.mark.parametrize("title", TABLES)
def test_values_in_remarks_are_values_of_the_stage(title):
    stage = TITLE.match(title)
    assert stage is not None
    for row in TABLES[title].rows:
        for text in re.findall(r"`([a-z_]+: [^`]+)`", row.remark):
            _, name, value = setting_of(text, stage[2])
            properties = SCHEMAS[stage[2]].properties
            assert name in properties, f"{text} is no setting of {stage[2]}"
            assert value in properties[name].get("enum", [value]), text


def as_value(text: str) -> Any:
    try:
        return {"true": True, "false": False}[text] if text in ("true", "false") else float(text)
    except ValueError:
        return text


def pairs(table: Table) -> Iterator[tuple[Row, str, Any, Any]]:
    """One setting of TRL beside one of ours, where a row has one of each, or says of several that they are the same."""
    for row in table.rows:
        alike = row.remark.startswith("the same")
        assert not alike or len(row.theirs) == len(row.ours), row
        if not alike and (len(row.theirs), len(row.ours)) != (1, 1):
            continue
        for name, (stage, ours, value) in zip(row.theirs, row.ours, strict=True):
            first = next(known for t in table.trainers if name in (known := table.recorded(t)))
            defaults = first[name], SCHEMAS[stage].properties[ours].get("default")
            if value is None and all(isinstance(default, (bool, int, float, str)) for default in defaults):
                yield row, name, *defaults


OTHER_UNIT = {
    *("auto_find_batch_size", "bf16", "push_to_hub", "max_steps", "max_length", "truncation_mode", "loss_type"),
    *("scale_rewards", "mask_truncated_completions", "use_bias_correction_kl", "dtype", "assistant_only_loss"),
    *("steps", "mini_batch_size", "per_device_eval_batch_size"),
}
"""Settings of TRL whose values are of another form than ours; the remark says what they are here."""


@pytest.mark.parametrize("title", TABLES)
def test_where_defaults_differ_the_remark_says_both(title):
    for row, name, theirs, ours in pairs(TABLES[title]):
        said = DEFAULTS.search(row.remark)
        if said:
            assert (as_value(said[1]), as_value(said[2])) == (theirs, ours), row
            assert theirs != ours, f"{name} is {theirs} in both"
        elif name in OTHER_UNIT:
            assert row.remark
        else:
            assert theirs == ours, f"{name} is {theirs} in TRL and {ours} here"


def test_pairs_of_defaults_are_found():
    found = [pair[1:] for table in TABLES.values() for pair in pairs(table)]

    assert {("num_train_epochs", 3.0, 1.0), ("num_generations", 8, 4), ("lam", 0.95, 0.95)} <= set(found)
    assert len(found) > 60
