"""The Stanford Sentiment Treebank, in the forms it goes round in, and its split into halves without a shared sentence.

SST-2 (Socher et al. 2013; GLUE, Wang et al. 2018): binary sentiment of film-review sentences.  GLUE's training rows
are mostly phrases of sentences, so a split by rows puts pieces of one sentence on both sides.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assent.data.rows import Row, pick_split, read_lines, read_rows
from assent.errors import DataError
from assent.types import Prompt, short_id

_TEXT_COLUMNS = ("sentence", "content", "text")
_SHARED_WORDS = 6


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A sentence or phrase; ``label`` is 1 for positive and 0 for negative."""

    text: str
    label: int


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What :func:`split_halves` did, in rows."""

    rows: int
    roots: int
    """Rows that no longer row contains: whole sentences, mostly."""
    components: int
    """Sets of roots that share words in a row; each goes to one half whole."""
    half_a: int
    half_b: int
    dropped: int
    """Phrases that sentences of both halves contain."""


def read_sst2(source: str | Path, split: str | None = None) -> list[LabelledText]:
    """Sentences with labels, from GLUE's ``.tsv`` (a header with ``label`` and ``sentence`` in either order), the
    headerless ``text<TAB>label`` files, any other data file with these columns, a folder, or a hub dataset.

    Raises :class:`DataError` for a row whose label is not 0 or 1 (GLUE's hidden test labels are -1) or without text.
    """
    path = Path(source)
    if path.is_dir():
        files = pick_split(path, split)
        path, split = (files[0], None) if len(files) == 1 else (path, split)
    if path.is_file() and path.name.endswith((".tsv", ".tsv.gz")) and not _has_header(path):
        rows = _headerless(path)
    else:
        rows = read_rows(path if path.exists() else source, split)
    found = [_labelled(row) for row in rows]
    if not found:
        raise DataError("the file is empty; expected sentences with labels", source)
    return found


def _has_header(path: Path) -> bool:
    _, first = next(read_lines(path), (1, ""))
    return "label" in [name.strip() for name in first.split("\t")]


def _headerless(path: Path) -> Iterable[Row]:
    for number, line in read_lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) == 2:
            yield Row({"sentence": fields[0], "label": fields[1]}, str(path), number)
        elif line.strip():
            raise DataError(f"{len(fields)} fields; expected text<TAB>label", path, number)


def _labelled(row: Row) -> LabelledText:
    name = next((name for name in _TEXT_COLUMNS if name in row.values), None)
    if name is None or "label" not in row.values:
        raise row.error(f"columns {', '.join(row.values)}; expected sentence (or text) and label")
    text, label = row.values[name], str(row.values["label"]).strip()
    if not isinstance(text, str) or not text.strip():
        raise row.error(f"column '{name}' is empty; expected a sentence")
    if label not in ("0", "1"):
        hidden = "; this split's labels are hidden, use train or validation" if label == "-1" else ""
        raise row.error(f"label '{label}'; expected 0 or 1{hidden}")
    return LabelledText(text.strip(), int(label))


def split_halves(
    rows: Sequence[LabelledText], seed: int = 0
) -> tuple[list[LabelledText], list[LabelledText], SplitReport]:
    """Two halves that share no sentence, of about equal size in rows.

    Roots are the rows that no longer row contains as whole words (space normalised, case ignored).  Roots that share
    six words in a row are one component.  Components go to a half in the order of a seeded hash, each to the half that
    is smaller so far.  Any other row goes where the roots that contain it are, and is dropped when both halves have
    one.  Rows of equal text stay together.  Linear in the words, but for the look-up of short phrases.
    """
    texts: dict[tuple[str, ...], int] = {}
    of_row = [texts.setdefault(tuple(row.text.lower().split()), len(texts)) for row in rows]
    words = list(texts)
    holders = _roots_holding(words)
    roots = [i for i, held in enumerate(holders) if held == [i]]
    component = _components(words, roots)
    sizes = Counter(component[holders[i][0]] for i in of_row)
    half = _balance(words, component, sizes, seed)

    sides: tuple[list[LabelledText], list[LabelledText]] = ([], [])
    dropped = 0
    for row, i in zip(rows, of_row, strict=True):
        found = {half[component[root]] for root in holders[i]}
        if len(found) == 1:
            sides[found.pop()].append(row)
        else:
            dropped += 1
    report = SplitReport(len(rows), len(roots), len(set(component.values())), len(sides[0]), len(sides[1]), dropped)
    return sides[0], sides[1], report


def sentences_of(rows: Sequence[LabelledText]) -> list[LabelledText]:
    """The rows that no longer row contains as whole words: of GLUE's phrases, the sentences."""
    texts: dict[tuple[str, ...], LabelledText] = {}
    for row in rows:
        texts.setdefault(tuple(row.text.lower().split()), row)
    words = list(texts)
    return [texts[words[i]] for i, held in enumerate(_roots_holding(words)) if held == [i]]


def _roots_holding(words: list[tuple[str, ...]]) -> list[list[int]]:
    """For each text the roots that contain it; a root has itself alone.

    Longest first: what is contained in a longer text is contained in a root, so that the index holds roots only.
    """
    index: dict[tuple[str, ...], list[int]] = defaultdict(list)  # one, two and three words in a row -> roots with them
    holders: list[list[int]] = [[] for _ in words]
    frequency = Counter(itertools.chain.from_iterable(words))
    for i in sorted(range(len(words)), key=lambda i: (-len(words[i]), words[i])):
        text = words[i]
        held = [root for root in _candidates(text, index, frequency) if _contains(words[root], text)]
        holders[i] = held or [i]
        if not held:
            for gram in {text[at : at + n] for n in (1, 2, 3) for at in range(len(text) - n + 1)}:
                index[gram].append(i)
    return holders


def _candidates(
    text: tuple[str, ...], index: dict[tuple[str, ...], list[int]], frequency: Counter[str]
) -> Sequence[int]:
    """Roots that hold the rarest run of up to three words of ``text``."""
    n = min(3, len(text))
    at = min(range(len(text) - n + 1), key=lambda at: min((frequency[word] for word in text[at : at + n]), default=0))
    return index.get(text[at : at + n], ())


def _contains(long: tuple[str, ...], short: tuple[str, ...]) -> bool:
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))


def _components(words: list[tuple[str, ...]], roots: list[int]) -> dict[int, int]:
    """The component of each root, named by its first root: union-find over shared runs of six words."""
    parent = {root: root for root in roots}

    def top(root: int) -> int:
        while parent[root] != root:
            parent[root] = root = parent[parent[root]]
        return root

    first: dict[tuple[str, ...], int] = {}
    for root in roots:
        for at in range(len(words[root]) - _SHARED_WORDS + 1):
            a, b = top(root), top(first.setdefault(words[root][at : at + _SHARED_WORDS], root))
            parent[max(a, b)] = min(a, b)
    return {root: top(root) for root in roots}


def _balance(words: list[tuple[str, ...]], component: dict[int, int], sizes: Counter[int], seed: int) -> dict[int, int]:
    """The half, 0 or 1, of each component."""

    def order(root: int) -> str:
        # By text, not by place in the file: the same sentences in another order split alike.
        return hashlib.sha256(f"{seed} {' '.join(words[root])}".encode()).hexdigest()

    key: dict[int, str] = {}
    for root, name in component.items():
        key[name] = min(key.get(name, "~"), order(root))
    half: dict[int, int] = {}
    total = [0, 0]
    for name in sorted(key, key=lambda name: key[name]):
        half[name] = 0 if total[0] <= total[1] else 1
        total[half[name]] += sizes[name]
    return half


def review_prompts(rows: Sequence[LabelledText], words: tuple[int, int] = (2, 6), seed: int = 0) -> list[Prompt]:
    """The first few words of the sentences among ``rows`` as prompts to continue: from ``words[0]`` to ``words[1]``
    words, drawn by a hash of seed and sentence.

    Each prompt occurs once, is shorter than its sentence, and carries the sentence's ``label`` in its metadata; as
    many come from positive sentences as from negative ones.  In the order of the hash, so that any first part of the
    list is a fair sample.
    """
    low, high = words
    if not 1 <= low <= high:
        raise ValueError(f"words must be (low, high) with 1 <= low <= high, got {words}")
    drawn: list[tuple[int, str, int]] = []
    for row in sentences_of(rows):
        said = row.text.split()
        number = int.from_bytes(hashlib.sha256(f"{seed} {row.text}".encode()).digest()[:8])
        length = low + number % (high - low + 1)
        if len(said) > length:
            drawn.append((number // (high - low + 1), " ".join(said[:length]), row.label))
    by_label: dict[int, list[str]] = {0: [], 1: []}
    seen: set[str] = set()
    for _, text, label in sorted(drawn):
        if text.lower() not in seen:
            seen.add(text.lower())
            by_label[label].append(text)
    alternating = [(label, text) for pair in zip(*by_label.values(), strict=False) for label, text in enumerate(pair)]
    return [Prompt(short_id(text), text=text, metadata={"label": label}) for label, text in alternating]
