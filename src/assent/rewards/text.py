"""What is read out of a completion's text."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)


def fenced(text: str, language: str | None = None) -> list[str]:
    """The contents of the ``` blocks; with ``language`` those marked with it, or with nothing."""
    blocks = _FENCE.findall(text)
    return [inside for mark, inside in blocks if language is None or mark.lower() in ("", language)]


def boxed(text: str) -> str | None:
    """What stands in the last LaTeX \\boxed{...}, braces within it balanced; ``None`` without a whole one."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : place]
    return None
