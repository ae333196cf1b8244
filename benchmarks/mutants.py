"""Mutation check of the algorithms: ``python -m benchmarks.mutants``; the last line is {"mutants": n, "killed": n}.

Each mutant is one small error, made in the syntax tree of one file of ``src/assent/algorithms``: a sign flipped, a mask
dropped, a denominator changed, old and new swapped, a stop-gradient dropped.  The tests of the algorithms run against
it, in a process forked after torch is loaded; a mutant that no test notices has survived, is printed, and makes the
exit status 1.  Figures that are only logged are left alone.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "src/assent/algorithms"
TESTS = (("tests/unit/algorithms",), ("tests/golden", "tests/contracts/test_algorithms.py"), ("tests/exact",))
"""What is run against a mutant: the quick tests first, and the others only where those pass."""
LEFT_ALONE = {"__init__"}
"""Modules without mathematics."""
LOGGED = {"rollout_figures"}
"""Functions whose result is only logged."""

Change = Callable[[ast.AST], Iterator[ast.AST]]


@dataclass(frozen=True)
class Mutant:
    """One error, in one module."""

    module: str
    line: int
    kind: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        """Where, what, and the two texts from where they begin to differ."""
        first = next((i for i, (a, b) in enumerate(zip(self.before, self.after, strict=False)) if a != b), 0)
        begin = max(0, first - 20) if first > 40 else 0
        before, after = (" ".join(text[begin:].split())[:70] for text in (self.before, self.after))
        return f"{self.module}.py, line {self.line}, {self.kind}: {before}  ->  {after}"


def flip_sign(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node.operand
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and not _is_count(node):
        yield ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Loss":
        named = [keyword.value for keyword in node.keywords if keyword.arg == "terms"]
        for terms in (terms for terms in [*node.args[:1], *named] if isinstance(terms, ast.Dict)):
            for index in range(len(terms.values)):
                mutated = copy.deepcopy(terms)
                mutated.values[index] = ast.UnaryOp(ast.USub(), mutated.values[index])
                yield _with_terms(node, mutated)


def drop_mask(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for mask, kept in ((node.right, node.left), (node.left, node.right)):
            if any(word in ast.unparse(mask) for word in ("mask", "weights", "decided")):
                yield kept
    if isinstance(node, ast.Attribute) and node.attr == "completion_mask":
        yield ast.Attribute(node.value, "mask", node.ctx)


def change_denominator(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield node.left
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("token_mean", "row_mean", "sequence_sum"):
            part = ast.unparse(node)
            yield ast.parse(f"Part({part}.weights, {part}.count * 2)", mode="eval").body
        if node.func.id == "Part" and len(node.args) == 2:
            yield ast.Call(node.func, [node.args[0], ast.BinOp(node.args[1], ast.Mult(), ast.Constant(2))], [])


def swap_old_and_new(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Attribute) and node.attr in ("chosen", "rejected"):
        yield ast.Attribute(node.value, "rejected" if node.attr == "chosen" else "chosen", node.ctx)
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        words = [ast.unparse(argument) for argument in node.args[:2]]
        if all("logprobs" in word or "old" in word for word in words):
            yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)


def drop_stop_gradient(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "detach":
        yield node.func.value


def take_the_other_side(node: ast.AST) -> Iterator[ast.AST]:
    other = {"maximum": "minimum", "minimum": "maximum", "logsigmoid": "sigmoid"}
    if isinstance(node, ast.Attribute) and node.attr in other:
        yield ast.Attribute(node.value, other[node.attr], node.ctx)
    clamped = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "clamp"
    if clamped and len(node.args) == 2:
        yield node.func.value


CHANGES: dict[str, Change] = {
    "sign flipped": flip_sign,
    "mask dropped": drop_mask,
    "denominator changed": change_denominator,
    "old and new swapped": swap_old_and_new,
    "stop-gradient dropped": drop_stop_gradient,
    "other side taken": take_the_other_side,
}


def _with_terms(call: ast.Call, terms: ast.Dict) -> ast.Call:
    if call.args:
        return ast.Call(call.func, [terms, *call.args[1:]], call.keywords)
    keywords = [ast.keyword(k.arg, terms if k.arg == "terms" else k.value) for k in call.keywords]
    return ast.Call(call.func, [], keywords)


def _is_count(node: ast.BinOp) -> bool:
    """Whether the sum is of sizes and places, as in ``shape[1] - 1``, and not of quantities."""
    sides = (node.left, node.right)
    return any(isinstance(side, ast.Constant) and isinstance(side.value, (int, str)) for side in sides)


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    text = (FOLDER / f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    found: list[Mutant] = []
    for place in _mathematical(tree):
        for kind, change in CHANGES.items():
            for made in change(_at(tree, place)):
                mutated = _replaced(tree, place, copy.deepcopy(made))
                before = _at(tree, place)
                line = getattr(before, "lineno", 0)
                found.append(Mutant(module, line, kind, ast.unparse(before), ast.unparse(made), ast.unparse(mutated)))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.kind, mutant.after))


Place = tuple[tuple[str, int | None], ...]


def _mathematical(tree: ast.Module) -> Iterator[Place]:
    """Places of the expressions in functions, those of logged figures and of annotations left out."""

    def walk(node: ast.AST, place: Place) -> Iterator[Place]:
        yield place
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(node, ast.keyword) and node.arg == "metrics":
                continue
            if isinstance(node, ast.Subscript) and name == "slice":
                continue
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if isinstance(child, ast.AST):
                    yield from walk(child, (*place, (name, index if isinstance(value, list) else None)))

    for index, statement in enumerate(tree.body):
        if isinstance(statement, ast.FunctionDef) and statement.name not in LOGGED:
            yield from walk(statement, (("body", index),))


def _at(tree: ast.AST, place: Place) -> ast.AST:
    for name, index in place:
        value = getattr(tree, name)
        tree = value if index is None else value[index]
    return tree


def _replaced(tree: ast.AST, place: Place, made: ast.AST) -> ast.AST:
    tree = copy.deepcopy(tree)
    parent, (name, index) = _at(tree, place[:-1]), place[-1]
    if index is None:
        setattr(parent, name, made)
    else:
        getattr(parent, name)[index] = made
    return ast.fix_missing_locations(tree)


def spread(mutants: list[Mutant], count: int) -> list[Mutant]:
    """At most ``count`` of a file's mutants: each kind in turn, spread over its lines."""
    kinds = [[m for m in mutants if m.kind == kind] for kind in CHANGES]
    queues = [_from_both_ends(queue) for queue in kinds if queue]
    chosen: list[Mutant] = []
    while queues and len(chosen) < count:
        for queue in queues:
            chosen.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    return sorted(chosen[:count], key=lambda m: m.line)


def _from_both_ends(queue: list[Mutant]) -> list[Mutant]:
    return [queue[i // 2] if i % 2 == 0 else queue[-1 - i // 2] for i in range(len(queue))]


class Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from a given source."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, fullname: str, path: object, target: object = None) -> object:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def get_source(self, fullname: str) -> str:
        return self.source


def test_runs(module: str) -> list[list[str]]:
    """The test files of each run, the module's own first."""
    own = [str(path) for path in (ROOT / "tests").rglob(f"test_{module}.py") if "algorithms" in path.parts]
    runs = [[str(ROOT / test) for test in tests if (ROOT / test).exists()] for tests in TESTS]
    return [*([own] if own else []), *(run for run in runs if run)]


def survives(mutant: Mutant | None) -> bool:
    """Run in a process of its own: whether every test passes with the mutant in place."""
    if mutant is not None:
        sys.meta_path.insert(0, Planted(f"assent.algorithms.{mutant.module}", mutant.source))
    for run in test_runs(mutant.module if mutant else "base"):
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *run])
        if status != 0:
            if mutant is None:
                print(said.getvalue(), file=sys.__stdout__)
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant errors in the algorithms; every one must be caught by a test.")
    parser.add_argument("--module", action="append", help="only this file of the folder (may be repeated)")
    parser.add_argument("--per-file", type=int, default=4, help="mutants of each file; 0 = all that there are")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    given = parser.parse_args()
    modules = given.module or sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in LEFT_ALONE)
    every = {module: mutants_of(module) for module in modules}
    chosen = [m for found in every.values() for m in (spread(found, given.per_file) if given.per_file else found)]
    if given.list:
        print(*chosen, sep="\n")
        return 0
    begun, killed = time.monotonic(), 0
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # no plugin is used here, and each process would load them all
    with multiprocessing.get_context("fork").Pool(given.jobs, maxtasksperchild=1) as pool:
        found = pool.imap(survives, [None, *chosen])
        if not next(found):
            print("the tests fail without any mutant; mend them first")
            return 1
        for mutant, alive in zip(chosen, found, strict=True):
            killed += not alive
            print(f"{'SURVIVED' if alive else 'killed  '}  {mutant}", flush=True)
    print(f"{time.monotonic() - begun:.0f} s")
    print(json.dumps({"mutants": len(chosen), "killed": killed}))
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
