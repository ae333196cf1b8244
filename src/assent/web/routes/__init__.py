"""The pages, one file each; each has a ``router``."""

from assent.web.routes import done, health, instructions, rank, sign_in, undo

ALL_ROUTES = [page.router for page in (sign_in, rank, undo, instructions, done, health)]
