"""Label Studio's labelling configuration for each kind of question: what its page shows and what it asks."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from assent.feedback.questions import Criterion, Question, Task

FAILED = "failed"
RANKED = "rank"
BETTER, STRENGTH = "better", "strength"
REWRITE, WHICH, NOTE = "rewrite", "which", "note"
STRENGTHS = ("no difference", "slightly better", "clearly better", "much better")
_TITLES = {
    "ranking": "Put each answer under its rank: 1 is best, several under one rank tie, F is a failed answer.",
    "pairwise": "Which answer is better, and by how much?",
    "best": "Put the best answer under Best, failed ones under F, and the others under Not the best.",
    "rating": "Rate each answer, or mark it failed.",
    "label": "Choose a label for each answer, or mark it failed.",
    "rewrite": "Rewrite an answer so that it is right.",
    "demonstration": "Write the answer yourself.",
}


@dataclass(frozen=True)
class Layout:
    """What questions must have in common to stand in one project, whose configuration is one."""

    task: Task
    answers: int
    criteria: tuple[Criterion, ...] = ()
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, question: Question) -> Layout:
        """The layout that a question needs."""
        return cls(question.task, len(question.texts), question.criteria, question.labels)

    def config(self) -> str:
        """The XML that a project is made with."""
        view = Element("View")
        SubElement(view, "Header", value=_TITLES[self.task])
        SubElement(
            view, "Paragraphs", name="prompt", value="$dialogue", layout="dialogue", nameKey="author", textKey="text"
        )
        _BODIES[self.task](view, self)
        SubElement(view, "Header", value="A note (optional)", size="5")
        SubElement(view, "TextArea", name=NOTE, toName="prompt", maxSubmissions="1", editable="true", rows="2")
        indent(view)
        return tostring(view, encoding="unicode")


def answer_name(position: int) -> str:
    """The name of the answer at a position on the page, in the configuration and as the id of a ranked item."""
    return f"answer{position + 1}"


def rating_name(position: int, criterion: int) -> str:
    """The control that rates the answer at a position on the criterion of an index."""
    return f"rating{position + 1}_{criterion + 1}"


def label_name(position: int) -> str:
    """The control that labels the answer at a position."""
    return f"label{position + 1}"


def failed_name(position: int) -> str:
    """The control that marks the answer at a position as failed."""
    return f"failed{position + 1}"


def is_rating(criterion: Criterion) -> bool:
    """Whether stars hold the scale: they begin at 1.  Other scales are typed as a number."""
    return criterion.low == 1 and criterion.high <= 10


def _buckets(view: Element, names: dict[str, str]) -> None:
    SubElement(view, "List", name="answers", value="$answers", title="Answers not yet placed")
    ranker = SubElement(view, "Ranker", name=RANKED, toName="answers")
    for name, title in names.items():
        SubElement(ranker, "Bucket", name=name, title=title)


def _ranking(view: Element, layout: Layout) -> None:
    titles = {str(rank): f"{rank}{' (best)' if rank == 1 else ''}" for rank in range(1, layout.answers + 1)}
    _buckets(view, {**titles, FAILED: "F"})


def _best(view: Element, layout: Layout) -> None:
    _buckets(view, {"best": "Best", "rest": "Not the best", FAILED: "F"})


def _pairwise(view: Element, layout: Layout) -> None:
    both = SubElement(view, "View", style="display: flex; gap: 1em")
    for position in range(2):
        _text(SubElement(both, "View", style="flex: 1"), position)
    SubElement(view, "Pairwise", name=BETTER, toName=f"{answer_name(0)},{answer_name(1)}")
    _choices(view, STRENGTH, "prompt", STRENGTHS, required=True)
    for position in range(2):
        _choices(view, failed_name(position), answer_name(position), (FAILED,))


def _rating(view: Element, layout: Layout) -> None:
    for position in range(layout.answers):
        _text(view, position)
        for index, criterion in enumerate(layout.criteria):
            SubElement(view, "Header", value=f"{criterion.name}: {criterion.low} to {criterion.high}", size="5")
            name, to = rating_name(position, index), answer_name(position)
            if is_rating(criterion):
                SubElement(view, "Rating", name=name, toName=to, maxRating=str(criterion.high))
            else:
                limits = {"min": str(criterion.low), "max": str(criterion.high), "step": "1"}
                SubElement(view, "Number", {"name": name, "toName": to, **limits})
        _choices(view, failed_name(position), answer_name(position), (FAILED,))


def _label(view: Element, layout: Layout) -> None:
    for position in range(layout.answers):
        _text(view, position)
        _choices(view, label_name(position), answer_name(position), layout.labels)
        _choices(view, failed_name(position), answer_name(position), (FAILED,))


def _rewrite(view: Element, layout: Layout) -> None:
    for position in range(layout.answers):
        _text(view, position)
    if layout.answers > 1:
        names = tuple(str(position + 1) for position in range(layout.answers))
        _choices(view, WHICH, "prompt", names, required=True)
    _written(view, layout)


def _written(view: Element, layout: Layout) -> None:
    SubElement(
        view, "TextArea", name=REWRITE, toName="prompt", maxSubmissions="1", editable="true", rows="8", required="true"
    )


def _text(view: Element, position: int) -> None:
    SubElement(view, "Header", value=f"Answer {position + 1}", size="5")
    SubElement(view, "Text", name=answer_name(position), value=f"${answer_name(position)}")


def _choices(view: Element, name: str, to: str, values: tuple[str, ...], *, required: bool = False) -> None:
    options = {"choice": "single", "showInline": "true", **({"required": "true"} if required else {})}
    choices = SubElement(view, "Choices", {"name": name, "toName": to, **options})
    for value in values:
        SubElement(choices, "Choice", value=value)


_BODIES = {
    "ranking": _ranking,
    "pairwise": _pairwise,
    "best": _best,
    "rating": _rating,
    "label": _label,
    "rewrite": _rewrite,
    "demonstration": _written,
}
