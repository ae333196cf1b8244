"""Rounds: a block of stages that a recipe writes once, unrolled into the stages of each round.

An entry of ``stages`` with ``rounds: N`` is a block.  Its stage ``sample`` becomes ``round1.sample``, ``round2.sample``
and so on (the block's name and the round's number), so that plan, resume, lineage and manifests know ordinary stages
alone.  Within the block an input may name what rounds made:

    $reward                       this round's
    $previous.ppo                 the round before's; the input is left out in round 1
    $earlier.ppo                  every round before this one
    $older.ppo                    every round before the previous one
    $all.collect/rankings.jsonl   every round up to this one
    $previous.ppo or $sft         `or` says what stands for round 0: a stage, a path or a hub name

Behind the block ``$all.ppo`` is every round's and ``$last.ppo`` the last one's.  What names several rounds stands in a
list, which gets an item for each, or in a mapping, whose key gets the round's number: ``{round: $all.ppo or $sft}`` is
``{round0: $sft, round1: $round1.ppo, ...}``.

``changes: {2: {ppo: {max_steps: 20}}}`` are settings that differ in one round.  A stage with ``methods`` is several,
one behind the other, each with its share of ``steps`` (:func:`_methods`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assent.errors import RecipeError, nearest
from assent.pipeline import schema
from assent.pipeline.check import shown
from assent.pipeline.yamltext import Path as Place

ROUNDS, STAGES, CHANGES, METHODS, STEPS, SHARE = "rounds", "stages", "changes", "methods", "steps", "share"
_KEYS = (ROUNDS, STAGES, CHANGES)
_MOST = 1000
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_WORDS = ("previous", "earlier", "older", "all", "last")
_SEVERAL = ("earlier", "older", "all")
_REFERENCE = re.compile(rf"\$(?:({'|'.join(_WORDS)})\.)?({_NAME})(/\S+)?(?:\s+or\s+(\S.*))?")

Places = dict[Place, str]


@dataclass(frozen=True, slots=True)
class Block:
    """The block of a recipe."""

    name: str
    rounds: int
    stages: Mapping[str, Any]
    changes: Mapping[int, Mapping[str, Any]]
    where: str

    def stage(self, number: int, name: str) -> str:
        """The name of a stage of one round."""
        return f"{self.name}{number}.{name}"


def is_block(entry: Any) -> bool:
    """Whether an entry of ``stages`` is a block of rounds."""
    return isinstance(entry, Mapping) and ROUNDS in entry


def unroll(stages: Mapping[str, Any], places: Places, where: str) -> dict[str, Any]:
    """The stages of a recipe with its block, where it has one, unrolled; ``places`` gets those of the new stages.

    Raises :class:`RecipeError`, with the line of the block as written.
    """
    blocks = [name for name, entry in stages.items() if is_block(entry)]
    if not blocks:
        return dict(stages)
    if len(blocks) > 1:
        raise _error(places, (blocks[1],), where, f"a recipe has one block of rounds, and '{blocks[0]}' is one")
    block = _block(blocks[0], stages[blocks[0]], places, where)
    out: dict[str, Any] = {}
    behind = False
    for name, entry in stages.items():
        if name != block.name:
            out[name] = _Resolver(block, 0, places, (STAGES, name)).entry(entry, name) if behind else entry
            continue
        behind = True
        for number in range(1, block.rounds + 1):
            for made, value in _round(block, number, places):
                if made in stages or made in out:
                    raise _error(places, (made,), where, f"two stages have the name '{made}'; rename one of them")
                out[made] = value
    return out


# --- the block -------------------------------------------------------------------------------------------------------


def _block(name: str, entry: Mapping[str, Any], places: Places, where: str) -> Block:
    for key in entry:
        if key not in _KEYS:
            hint = nearest(key, _KEYS) or f"; it has {', '.join(_KEYS)}"
            raise _error(places, (name, key), where, f"unknown key '{key}' in the block of rounds '{name}'{hint}")
    rounds = entry[ROUNDS]
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= _MOST:
        message = f"'rounds' of the block '{name}' expected a whole number from 1 to {_MOST}, got {shown(rounds)}"
        raise _error(places, (name, ROUNDS), where, message)
    stages = entry.get(STAGES)
    if not isinstance(stages, Mapping) or not stages:
        message = f"the block of rounds '{name}' needs 'stages:' with at least one stage, got {shown(stages)}"
        raise _error(places, (name, STAGES), where, message)
    for stage, value in stages.items():
        if value is not None and not isinstance(value, Mapping):
            message = f"stage '{stage}' expected a mapping of settings, got {shown(value)}"
            raise _error(places, (name, STAGES, stage), where, message)
    return Block(name, rounds, stages, _changes(name, entry, rounds, stages, places, where), where)


def _changes(
    name: str, entry: Mapping[str, Any], rounds: int, stages: Mapping[str, Any], places: Places, where: str
) -> dict[int, Mapping[str, Any]]:
    given = entry.get(CHANGES) or {}
    if not isinstance(given, Mapping):
        message = f"'changes' of the block '{name}' expected rounds with what differs in them, got {shown(given)}"
        raise _error(places, (name, CHANGES), where, message)
    found: dict[int, Mapping[str, Any]] = {}
    for key, value in given.items():
        here = (name, CHANGES, key)
        if not str(key).isdecimal() or not 1 <= int(key) <= rounds:
            raise _error(places, here, where, f"'{key}' is no round of the block '{name}', which has 1 to {rounds}")
        if not isinstance(value, Mapping):
            raise _error(places, here, where, f"round {key} expected stages with what differs, got {shown(value)}")
        for stage, settings in value.items():
            if stage not in stages:
                message = f"the block '{name}' has no stage '{stage}'{nearest(stage, stages)}"
                raise _error(places, (*here, stage), where, message)
            if not isinstance(settings, Mapping):
                message = f"stage '{stage}' expected a mapping of settings, got {shown(settings)}"
                raise _error(places, (*here, stage), where, message)
        found[int(key)] = value
    return found


def _round(block: Block, number: int, places: Places) -> Iterator[tuple[str, Any]]:
    """The stages of one round, with names and references of their own."""
    for name, written in block.stages.items():
        entry = dict(written or {})
        made, home = block.stage(number, name), (STAGES, block.name, STAGES, name)
        changed = block.changes.get(number, {}).get(name, {})
        _move(places, home, (STAGES, made))
        if changed:
            _move(places, (STAGES, block.name, CHANGES, str(number), name), (STAGES, made), whole=False)
            entry |= changed
        resolver = _Resolver(block, number, places, (STAGES, made))
        if METHODS in entry:
            yield from _methods(made, entry, places, resolver)
        else:
            yield made, resolver.entry(entry, name)


def _move(places: Places, old: Place, new: Place, whole: bool = True) -> None:
    """The places below ``old``, and its own where the ``whole`` of it moves, below ``new`` as well."""
    size = len(old)
    found = {(*new, *path[size:]): line for path, line in places.items() if path[:size] == old}
    if not whole:
        found.pop(new, None)
    places.update(found)


def _methods(made: str, entry: dict[str, Any], places: Places, resolver: _Resolver) -> Iterator[tuple[str, Any]]:
    """A stage that optimises a policy by several methods, each from the one before, as a stage for each.

    ``methods`` is a mapping of them in their order, each with its own settings beside the common ones and its ``share``
    of the ``steps`` (shares are weights: all the same when left out).  The last has the name of the whole.
    """
    here = (made, METHODS)
    where = resolver.block.where
    methods, steps = entry.pop(METHODS), entry.pop(STEPS, None)
    if not isinstance(methods, Mapping) or not methods:
        raise _error(places, here, where, f"'methods' of '{made}' expected methods by name, got {shown(methods)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < len(methods):
        message = f"'steps' of '{made}' expected a whole number, at least one step for each of its methods, got"
        raise _error(places, (made, STEPS), where, f"{message} {shown(steps)}")
    shares: dict[str, float] = {}
    for name, own in methods.items():
        own = {} if own is None else own
        if not isinstance(own, Mapping):
            raise _error(places, (*here, name), where, f"method '{name}' expected its settings, got {shown(own)}")
        share = own.get(SHARE, 1.0)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < float("inf"):
            message = f"'share' of method '{name}' expected a number above 0, got {shown(share)}"
            raise _error(places, (*here, name, SHARE), where, message)
        shares[name] = float(share)
    model = entry.get("model")
    for name, each in apportioned(steps, shares).items():
        last = name == list(methods)[-1]
        stage = made if last else f"{made}.{name}"
        if not last:
            _move(places, (STAGES, made), (STAGES, stage))
        _move(places, (STAGES, *here, name), (STAGES, stage), whole=False)
        own = {key: value for key, value in (methods[name] or {}).items() if key != SHARE}
        value = {"uses": name, **entry, "max_steps": each, **own, "model": model}
        yield stage, resolver.entry(value, name)
        model = f"${stage}"


def apportioned(steps: int, shares: Mapping[str, float]) -> dict[str, int]:
    """``steps`` by shares, by largest remainders; at least one each."""
    free, total = steps - len(shares), sum(shares.values())
    exact = {name: free * share / total for name, share in shares.items()}
    out = {name: 1 + int(value) for name, value in exact.items()}
    left = sorted(exact, key=lambda name: int(exact[name]) - exact[name])  # the largest remainder first; stable
    for name in left[: steps - sum(out.values())]:
        out[name] += 1
    return out


# --- references ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Turns what a stage names of rounds into the stages of those rounds."""

    block: Block
    number: int
    """The round that the stage is of; 0 behind the block."""
    places: Places
    here: Place

    def entry(self, entry: Any, name: str) -> Any:
        """The stage's values, its inputs resolved."""
        if entry is None:
            entry = {}
        if not isinstance(entry, Mapping):
            return entry  # the check of the stage says what is wrong with it
        known = schema.stage_schemas().get(str(entry.get("uses", name)))
        out = {"uses": name, **entry} if self.number else dict(entry)
        for key in known.inputs if known else ():
            if key in entry:
                value = self._value(entry[key], (*self.here[1:], key))
                if value is None and entry[key] is not None:
                    del out[key]  # of the round before the first
                else:
                    out[key] = value
        return out

    def _value(self, value: Any, path: Place) -> Any:
        if isinstance(value, str):
            found = self._found(value, path)
            if found is None:
                return value
            if len(found) > 1 or _several(value):
                message = f"'{value}' names several rounds; set it in a list or a mapping, or name one of them"
                raise _error(self.places, path, self.block.where, message)
            return next(iter(found.values()), None)
        if isinstance(value, list):
            out: list[Any] = []
            for index, item in enumerate(value):
                found = self._found(item, (*path, index))
                out += [item] if found is None else found.values()
            return out
        if isinstance(value, Mapping):
            return self._mapping(value, path)
        return value

    def _mapping(self, value: Mapping[str, Any], path: Place) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for key, item in value.items():
            found = self._found(item, (*path, key))
            several = found is not None and _several(item)
            items = {key: item} if found is None else {f"{key}{n}" if several else key: x for n, x in found.items()}
            for name, one in items.items():
                if name in named:
                    message = f"'{name}' stands for two inputs: '{key}' gets the rounds' numbers; give it another name"
                    raise _error(self.places, (*path, key), self.block.where, message)
                named[name] = one
        return named

    def _found(self, value: Any, path: Place) -> dict[int, str] | None:
        """Round -> reference; ``None`` for what names no round."""
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return None
        word, name, file, origin = match.groups()
        if word is None:
            inside = self.number and name.split(".")[0] in self.block.stages
            if origin is not None:
                message = f"'{value}': 'or' says what stands for round 0 of $previous, $earlier, $older or $all"
                raise _error(self.places, path, self.block.where, message)
            return {self.number: f"${self.block.stage(self.number, name)}{file or ''}"} if inside else None
        if name not in self.block.stages:
            message = f"'{value}' names a stage '{name}' that the block '{self.block.name}' has not"
            raise _error(self.places, path, self.block.where, message + nearest(name, self.block.stages))
        found = {n: f"${self.block.stage(n, name)}{file or ''}" for n in self._rounds(word, value, path) if n}
        return {0: origin, **found} if origin is not None and 0 in self._rounds(word, value, path) else found

    def _rounds(self, word: str, value: str, path: Place) -> range:
        """The rounds that a word means, 0 included."""
        now, last = self.number, self.block.rounds
        inside = {
            "previous": range(now - 1, now),
            "earlier": range(now),
            "older": range(now - 1),
            "all": range(now + 1),
        }
        found = (inside if now else {"all": range(last + 1), "last": range(last, last + 1)}).get(word)
        if found is None:
            kept = "$previous, $earlier, $older and $all" if now else "$all and $last"
            side = "within" if now else "behind"
            message = f"'{value}': {side} the block of rounds an input names {kept}"
            raise _error(self.places, path, self.block.where, message)
        return found


def _several(value: str) -> bool:
    match = _REFERENCE.fullmatch(value)
    return match is not None and match[1] in _SEVERAL


def _error(places: Places, path: Place, where: str, message: str) -> RecipeError:
    """With the place of ``path`` below ``stages``, or of the nearest above it that is known."""
    full: Place = (STAGES, *path)
    while full not in places and len(full) > 1:
        full = full[:-1]
    return RecipeError(f"{places.get(full, where)}: {message}")
