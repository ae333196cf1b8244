"""Projects: what is asked for, how it is handed out, and the instructions, version by version."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, insert, select, update

from assent.errors import StoreError
from assent.feedback.database import Database, append_audit
from assent.feedback.rows import add_instructions, ensure_project, refresh_given
from assent.feedback.tables import instruction_versions, instructions, projects, questions


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """How the questions of a project are handed out."""

    overlap: int | None = None
    """How many people answer each question that does not say it itself; ``None``: everybody."""
    lease_minutes: float = 30.0
    """How long a question stays with the one who opened it."""
    budget: int | None = None
    """Answers wanted in all; nothing is handed out once they are there.  ``None``: no limit."""
    gold_every: int = 0
    """Every so many questions one has a known answer, to see whether people still read; 0: never."""
    qualification: int = 0
    """How many gold questions a new annotator answers before any other; 0: none."""
    qualification_pass: float = 0.7
    """Mean score, 0 to 1, that they must reach on them."""

    def __post_init__(self) -> None:
        for name, least in (("overlap", 1), ("budget", 1), ("gold_every", 0), ("qualification", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 1_000_000_000:
                raise StoreError(f"{name} {value}: give a whole number from {least}")
        if not 0 < self.lease_minutes <= 100_000:
            raise StoreError(f"lease_minutes {self.lease_minutes}: give a number above 0")
        if not 0 <= self.qualification_pass <= 1:
            raise StoreError(f"qualification_pass {self.qualification_pass}: give a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class InstructionVersion:
    """One version of a project's instructions."""

    version: int
    text: str
    """Markdown."""
    created: float
    author: str


class Projects:
    """The projects of a store; each question belongs to one, and one named "default" is always there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> list[str]:
        """All projects, the oldest first."""
        with self._database.reading() as connection:
            return list(
                connection.execute(select(projects.c.name).order_by(projects.c.created, projects.c.name)).scalars()
            )

    def settings(self, project: str) -> ProjectSettings:
        """Those of one project; :class:`StoreError` when there is none of that name."""
        with self._database.reading() as connection:
            return load_settings(connection, project)

    def change(self, project: str, settings: ProjectSettings, by: str) -> None:
        """Set all settings of a project, made where it does not exist; questions open and close by the new overlap."""
        others: dict[str, Any] = dataclasses.asdict(settings)
        overlap = others.pop("overlap")
        with self._database.writing() as connection:
            ensure_project(connection, project)
            connection.execute(
                update(projects).where(projects.c.name == project).values(overlap=overlap, settings=others)
            )
            refresh_given(connection, questions.c.project == project)
            append_audit(connection, by, "settings", project, str(dataclasses.asdict(settings)))

    def write_instructions(self, project: str, text: str, by: str) -> int:
        """Add a version of the instructions and return its number; the same text as now adds none."""
        with self._database.writing() as connection:
            ensure_project(connection, project)
            current = _newest(connection, project)
            if current is not None and current.text == text:
                return current.version
            version = 1 if current is None else current.version + 1
            connection.execute(
                insert(instruction_versions).values(
                    project=project,
                    version=version,
                    instructions_id=add_instructions(connection, text),
                    created=time.time(),
                    author=by,
                )
            )
            append_audit(connection, by, "instructions", project, f"version {version}")
            return version

    def instructions(self, project: str, version: int | None = None) -> InstructionVersion | None:
        """The newest version, or the one asked for; ``None`` where there is none."""
        with self._database.reading() as connection:
            return _newest(connection, project, version)

    def versions(self, project: str) -> list[InstructionVersion]:
        """All versions, the newest first."""
        query = _versions(project).order_by(instruction_versions.c.version.desc())
        with self._database.reading() as connection:
            return [InstructionVersion(*row) for row in connection.execute(query)]


def load_settings(connection: Connection, project: str) -> ProjectSettings:
    """See :meth:`Projects.settings`."""
    found = find_settings(connection, project)
    if found is None:
        raise StoreError(f"no project '{project}' in this store")
    return found


def find_settings(connection: Connection, project: str) -> ProjectSettings | None:
    """The same, or ``None`` where there is no project of that name."""
    row = connection.execute(_PROJECT, {"name": project}).one_or_none()
    if row is None:
        return None
    kept: Mapping[str, Any] = row.settings
    return ProjectSettings(overlap=row.overlap, **kept)


def _versions(project: str | BindParameter[str]) -> Select[Any, Any, Any, Any]:
    return (
        select(
            instruction_versions.c.version,
            instructions.c.text,
            instruction_versions.c.created,
            instruction_versions.c.author,
        )
        .join(instructions)
        .where(instruction_versions.c.project == project)
    )


_PROJECT = select(projects).where(projects.c.name == bindparam("name"))
_NEWEST = _versions(bindparam("project")).order_by(instruction_versions.c.version.desc()).limit(1)


def _newest(connection: Connection, project: str, version: int | None = None) -> InstructionVersion | None:
    query = _NEWEST if version is None else _NEWEST.where(instruction_versions.c.version == version)
    row = connection.execute(query, {"project": project}).one_or_none()
    return None if row is None else InstructionVersion(*row)
