"""People who may sign in: roles, secrets, invitations, sessions, and the log of what was done.

Nothing kept here lets anyone in by itself: of secrets only argon2id hashes are kept, of invitations and sessions only
SHA-256 digests of their random tokens.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from assent.errors import StoreError
from assent.feedback.answers import check_annotator, kind_of
from assent.feedback.database import Database, append_audit
from assent.feedback.tables import (
    annotators,
    answered,
    audit,
    instruction_versions,
    invitations,
    leases,
    sessions,
    tallies,
)

Role = Literal["admin", "annotator", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)
MIN_SECRET, MAX_SECRET = 8, 200
SESSION_DAYS = 30
_hasher = PasswordHasher()
_SESSION = (
    select(annotators)
    .join(sessions)
    .where(sessions.c.token_hash == bindparam("digest"), sessions.c.expires > bindparam("now"), annotators.c.active)
)


@cache
def _nobody() -> str:
    """What a secret is compared with where the name is unknown, so that the time taken tells nothing."""
    return _hasher.hash(secrets.token_hex())


@dataclass(frozen=True, slots=True)
class About:
    """What people say of themselves, all of it of their own will."""

    languages: str = ""
    field: str = ""
    """What they know much about, or their trade."""
    group: str = ""
    """Any group whose judgement may differ from others'."""

    def __post_init__(self) -> None:
        for name in ("languages", "field", "group"):
            value = getattr(self, name)
            if len(value) > 200 or not (value.isprintable() or not value):
                raise StoreError(f"{name}: give at most 200 printable characters")


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who may sign in."""

    name: str
    role: Role
    active: bool
    created: float
    has_secret: bool
    about: About
    queues: tuple[str, ...]
    """Those they work in; empty: all."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link that lets one person in once."""

    role: Role
    annotator: str | None
    """The only name it is for; ``None``: a new one."""
    queues: tuple[str, ...]
    created: float
    author: str
    expires: float
    used_by: str | None
    digest: str
    """Names it in the list of invitations; it does not let anybody in."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log."""

    id: int
    created: float
    actor: str
    action: str
    subject: str
    detail: str


class People:
    """Those who may sign in to one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Person]:
        """Everybody, by name."""
        with self._database.reading() as connection:
            return [_person(row) for row in connection.execute(select(annotators).order_by(annotators.c.name))]

    def get(self, name: str) -> Person | None:
        """One person, or ``None``."""
        with self._database.reading() as connection:
            row = connection.execute(select(annotators).where(annotators.c.name == name)).one_or_none()
            return None if row is None else _person(row)

    def add(self, name: str, role: Role, secret: str | None, about: About | None = None, by: str = "") -> Person:
        """Someone new; :class:`StoreError` where the name is taken, or will not do, or the secret is too short."""
        hashed = None if secret is None else _hash(secret)
        with self._database.writing() as connection:
            return _add(connection, name, role, hashed, about or About(), (), by or name)

    def check_secret(self, name: str, secret: str) -> Person | None:
        """The person, if this is their secret and they may sign in."""
        with self._database.reading() as connection:
            row = connection.execute(select(annotators).where(annotators.c.name == name)).one_or_none()
        known = _nobody() if row is None or row.secret_hash is None else row.secret_hash
        try:
            _hasher.verify(known, secret[:MAX_SECRET])
        except (VerificationError, InvalidHashError):
            return None
        return _person(row) if row is not None and row.active and row.secret_hash is not None else None

    def set_secret(self, name: str, secret: str) -> None:
        """Change someone's secret; their sessions end."""
        hashed = _hash(secret)
        with self._database.writing() as connection:
            _change(connection, name, {"secret_hash": hashed})
            connection.execute(delete(sessions).where(sessions.c.annotator == name))
            append_audit(connection, name, "secret", name)

    def describe(self, name: str, about: About) -> None:
        """Set what someone says of themselves."""
        with self._database.writing() as connection:
            _change(connection, name, {"about": _about(about)})
            append_audit(connection, name, "describe", name)

    def change(self, name: str, role: Role, active: bool, queues: tuple[str, ...], by: str) -> None:
        """Set role, queues and whether someone may sign in.  The last administrator stays one."""
        _check_role(role)
        with self._database.writing() as connection:
            others = select(func.count()).where(
                annotators.c.role == "admin", annotators.c.active, annotators.c.name != name
            )
            was = select(annotators.c.role).where(annotators.c.name == name)
            if (
                connection.execute(was).scalar_one_or_none() == "admin"
                and not (role == "admin" and active)
                and not connection.execute(others).scalar_one()
            ):
                raise StoreError(f"'{name}' is the only administrator; make someone else one first")
            _change(connection, name, {"role": role, "active": active, "queues": list(queues)})
            if not active:
                connection.execute(delete(sessions).where(sessions.c.annotator == name))
            append_audit(connection, by, "change", name, f"role {role}, active {active}, queues {', '.join(queues)}")

    # Invitations

    def invite(
        self, role: Role, by: str, hours: float = 72.0, annotator: str | None = None, queues: tuple[str, ...] = ()
    ) -> str:
        """A new invitation's token, which is told this once.  ``annotator``: the only name it is for."""
        _check_role(role)
        if not 0 < hours <= 24 * 365:
            raise StoreError(f"an invitation for {hours:g} hours: give a number above 0, of at most a year")
        token, now = secrets.token_urlsafe(32), time.time()
        with self._database.writing() as connection:
            connection.execute(
                insert(invitations).values(
                    token_hash=_digest(token),
                    role=role,
                    annotator=None if annotator is None else check_annotator(annotator),
                    queues=list(queues),
                    created=now,
                    author=by,
                    expires=now + hours * 3600,
                )
            )
            append_audit(connection, by, "invite", annotator or "", f"role {role}")
        return token

    def invitations(self) -> list[Invitation]:
        """All, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(invitations).order_by(invitations.c.created.desc()))
            return [_invitation(row) for row in rows]

    def invitation(self, token: str) -> Invitation | None:
        """The invitation of a token, if it is still good."""
        with self._database.reading() as connection:
            return _good_invitation(connection, token)

    def withdraw(self, digest: str, by: str) -> None:
        """End an unused invitation."""
        with self._database.writing() as connection:
            query = delete(invitations).where(invitations.c.token_hash == digest, invitations.c.used.is_(None))
            if connection.execute(query).rowcount:
                append_audit(connection, by, "withdraw", digest[:12])

    def accept(self, token: str, name: str, secret: str | None, about: About | None = None) -> Person:
        """Come in by an invitation, which is used up.

        One made for a name lets that person in, known before or not, and sets their secret if one is given.  Any other
        wants a name that is not taken.  Raises :class:`StoreError` where it is not good any more.
        """
        hashed = None if secret is None else _hash(secret)
        with self._database.writing() as connection:
            invitation = _good_invitation(connection, token)
            if invitation is None:
                raise StoreError("this invitation was used, withdrawn or has expired; ask for a new one")
            if invitation.annotator is not None and name != invitation.annotator:
                raise StoreError(f"this invitation is for '{invitation.annotator}'; it lets nobody else in")
            row = connection.execute(select(annotators).where(annotators.c.name == name)).one_or_none()
            if row is not None and invitation.annotator == name:
                values: dict[str, Any] = {"role": invitation.role, "active": True}
                if hashed is not None:
                    values["secret_hash"] = hashed
                _change(connection, name, values)
            else:
                _add(connection, name, invitation.role, hashed, about or About(), invitation.queues, name)
            used = {"used_by": name, "used": time.time()}
            connection.execute(update(invitations).where(invitations.c.token_hash == invitation.digest).values(**used))
            append_audit(connection, name, "accept", invitation.digest[:12], f"role {invitation.role}")
            return _person(connection.execute(select(annotators).where(annotators.c.name == name)).one())

    # Sessions

    def open_session(self, name: str) -> str:
        """Sign someone in; the token that :meth:`session` knows them by."""
        token, now = secrets.token_urlsafe(32), time.time()
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires <= now))
            connection.execute(
                insert(sessions).values(
                    token_hash=_digest(token), annotator=name, created=now, expires=now + SESSION_DAYS * 86400
                )
            )
            append_audit(connection, name, "sign in", name)
        return token

    def session(self, token: str) -> Person | None:
        """Who signed in under a token, as they are now; ``None`` when it has ended."""
        with self._database.reading() as connection:
            row = connection.execute(_SESSION, {"digest": _digest(token), "now": time.time()}).one_or_none()
            return None if row is None else _person(row)

    def close_session(self, token: str) -> None:
        """Sign out."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_hash == _digest(token)))

    # The audit log

    def note(self, actor: str, action: str, subject: str = "", detail: str = "") -> None:
        """Write a line of the audit log."""
        with self._database.writing() as connection:
            append_audit(connection, actor, action, subject, detail)

    def audit(self, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Lines of the audit log, the newest first; those with an id below ``before`` when given."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        with self._database.reading() as connection:
            return [AuditEntry(*row) for row in connection.execute(query)]


def forget(connection: Connection, name: str, pseudonym: str | None) -> bool:
    """Take a person out of every table but the events; only say whether there is one where no pseudonym is given."""
    known = connection.execute(select(annotators.c.name).where(annotators.c.name == name)).first() is not None
    if pseudonym is None:
        return known
    connection.execute(delete(sessions).where(sessions.c.annotator == name))
    connection.execute(delete(leases).where(leases.c.annotator == name))
    connection.execute(delete(annotators).where(annotators.c.name == name))
    for column in (
        answered.c.annotator,
        tallies.c.annotator,
        audit.c.actor,
        audit.c.subject,
        instruction_versions.c.author,
        invitations.c.annotator,
        invitations.c.used_by,
        invitations.c.author,
    ):
        connection.execute(update(column.table).where(column == name).values({column.name: pseudonym}))
    return known


def _add(
    connection: Connection,
    name: str,
    role: Role,
    hashed: str | None,
    about: About,
    queues: tuple[str, ...],
    by: str,
) -> Person:
    check_annotator(name)
    _check_role(role)
    if kind_of(name.lower()) != "people":
        prefix = name.lower().partition(":")[0]
        raise StoreError(f"annotator '{name}': names that begin with '{prefix}:' are not for people; choose another")
    # One name for what looks the same to a reader.
    taken = select(annotators.c.name).where(func.lower(annotators.c.name) == name.lower())
    if connection.execute(taken).first() is not None:
        raise StoreError(f"the name '{name}' is taken; choose another, or sign in")
    row = {
        "name": name,
        "role": role,
        "active": True,
        "created": time.time(),
        "secret_hash": hashed,
        "about": _about(about),
        "queues": list(queues),
    }
    connection.execute(insert(annotators).values(**row))
    append_audit(connection, by, "add", name, f"role {role}")
    return _person(connection.execute(select(annotators).where(annotators.c.name == name)).one())


def _change(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    if not connection.execute(update(annotators).where(annotators.c.name == name).values(**values)).rowcount:
        raise StoreError(f"nobody named '{name}' may sign in; check the spelling")


def _good_invitation(connection: Connection, token: str) -> Invitation | None:
    query = select(invitations).where(
        invitations.c.token_hash == _digest(token), invitations.c.used.is_(None), invitations.c.expires > time.time()
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _invitation(row)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise StoreError(f"role '{role}'; give one of {', '.join(ROLES)}")


def _hash(secret: str) -> str:
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise StoreError(f"a secret of {len(secret)} characters; give {MIN_SECRET} to {MAX_SECRET}")
    return _hasher.hash(secret)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _about(about: About) -> dict[str, str]:
    return {"languages": about.languages, "field": about.field, "group": about.group}


def _person(row: Any) -> Person:
    about = About(**row.about)
    return Person(row.name, row.role, row.active, row.created, row.secret_hash is not None, about, tuple(row.queues))


def _invitation(row: Any) -> Invitation:
    return Invitation(
        row.role, row.annotator, tuple(row.queues), row.created, row.author, row.expires, row.used_by, row.token_hash
    )
