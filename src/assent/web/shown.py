"""Text that people or models wrote, as HTML that can do nothing but be read."""

from __future__ import annotations

import re
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

MARKDOWN_LIMIT = 50_000
"""Longer texts are shown as they are: Markdown of a megabyte would hold the page up."""
FOLD_CHARACTERS = 1_800
FOLD_LINES = 30
_TAGS = {
    "p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "table", "thead", "tbody", "tr", "th", "td", "a", "kbd",
}  # fmt: skip
_SET = {"a": {"target": "_blank"}, "pre": {"tabindex": "0"}, "table": {"tabindex": "0"}}
"""Code and tables may be wider than the page: the arrow keys move what has the focus."""
_markdown = (
    MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"]).disable("image")
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff]")


def markdown(text: str) -> Markup:
    """CommonMark with tables to HTML.

    Raw HTML in the text is shown as text, pictures as links: a page asks nothing of other hosts.  What comes out is
    sanitised once more, links open elsewhere and tell nobody where they were.
    """
    text = readable(text)
    if len(text) > MARKDOWN_LIMIT:
        return Markup('<div class="as-is">{}</div>').format(text)
    return Markup(_rendered(text) if len(text) <= 20_000 else _render(text))


def plain(text: str) -> Markup:
    """The text itself, line breaks and spaces kept."""
    return Markup('<div class="as-is">{}</div>').format(readable(text))


def folded(text: str) -> bool:
    """True of a text so long that the page shows its beginning, and all of it on demand."""
    return len(text) > FOLD_CHARACTERS or text.count("\n") > FOLD_LINES


def readable(text: str) -> str:
    """Control characters as their pictures (U+2400), half characters as U+FFFD; tabs and line feeds stay."""
    return _CONTROL.sub(_picture, text.replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    return "\ufffd" if code > 0x7F else "\u2421" if code == 0x7F else chr(0x2400 + code)


@lru_cache(maxsize=2048)
def _rendered(text: str) -> str:
    return _render(text)


def _render(text: str) -> str:
    try:
        html = _markdown.render(text)
    except RecursionError:  # thousands of nested quotes or lists
        return f'<div class="as-is">{escape(text)}</div>'
    return nh3.clean(
        html, tags=_TAGS, attributes={"a": {"href", "title"}, "ol": {"start"}}, url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow", set_tag_attribute_values=_SET,
    )  # fmt: skip
