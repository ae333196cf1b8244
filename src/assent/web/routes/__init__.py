"""The pages, one file each; each has a ``router``."""

from assent.web.routes import (
    audit,
    dashboard,
    health,
    home,
    instructions,
    join,
    live,
    me,
    mine,
    people,
    project,
    question,
    sign_in,
    undo,
)

_PAGES = (home, sign_in, join, question, undo, mine, me, instructions, live, dashboard, people, project, audit, health)
ALL_ROUTES = [page.router for page in _PAGES]
