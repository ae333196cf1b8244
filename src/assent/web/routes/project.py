"""A project's instructions and settings, for administrators."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter, Request, Response

from assent.errors import StoreError
from assent.feedback.projects import ProjectSettings
from assent.web.session import Admin, PostedForm, described, field
from assent.web.site import Site, TheSite

router = APIRouter()
MAX_INSTRUCTIONS = 200_000
NAMES = [each.name for each in dataclasses.fields(ProjectSettings)]


@router.get("/project", name="project")
def show(request: Request, person: Admin, site: TheSite) -> Response:
    """Of the project that one works in."""
    return _page(request, site)


@router.post("/project/instructions", name="write_instructions", openapi_extra=described(text="Markdown."))
def write(request: Request, person: Admin, form: PostedForm, site: TheSite) -> Response:
    """Add a version; answers given until now remember the one that their authors saw."""
    text = field(form, "text").replace("\r\n", "\n").strip()
    try:
        if not text or len(text) > MAX_INSTRUCTIONS:
            raise StoreError(f"Give instructions of 1 to {MAX_INSTRUCTIONS} characters.")
        site.store.projects.write_instructions(site.project(request), text, person.name)
    except StoreError as error:
        return _page(request, site, str(error))
    return site.go(request, "project")


@router.post("/project/settings", name="settings", openapi_extra=described(**dict.fromkeys(NAMES, "A number.")))
def change(request: Request, person: Admin, form: PostedForm, site: TheSite) -> Response:
    """Set how questions are handed out."""
    try:
        given = {name: field(form, name).strip() for name in NAMES}
        site.store.projects.change(site.project(request), _settings(given), person.name)
    except (StoreError, ValueError, OverflowError) as error:
        return _page(request, site, str(error) if isinstance(error, StoreError) else "Give numbers.")
    return site.go(request, "project")


def _settings(given: dict[str, str]) -> ProjectSettings:
    usual = ProjectSettings()
    return ProjectSettings(
        overlap=int(given["overlap"]) if given["overlap"] else None,
        lease_minutes=float(given["lease_minutes"] or usual.lease_minutes),
        budget=int(given["budget"]) if given["budget"] else None,
        gold_every=int(given["gold_every"] or 0),
        qualification=int(given["qualification"] or 0),
        qualification_pass=float(given["qualification_pass"] or usual.qualification_pass),
    )


def _page(request: Request, site: Site, problem: str | None = None) -> Response:
    project = site.project(request)
    return site.render(
        request,
        "project.html",
        status=422 if problem else 200,
        project=project,
        settings=site.store.projects.settings(project),
        current=site.instructions(project),
        versions=site.store.projects.versions(project),
        problem=problem,
    )
