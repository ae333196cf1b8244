"""Where someone goes first: to the next question, to the dashboard, or to the end."""

from fastapi import APIRouter, Request, Response

from assent.web.session import Annotator, Anyone, PostedForm, described, field
from assent.web.site import TheSite

router = APIRouter()


@router.get("/", name="home")
def home(request: Request, person: Anyone, site: TheSite) -> Response:
    """By role."""
    return site.go(request, "dashboard" if person.role == "viewer" else "next")


@router.get("/next", name="next")
def go_on(request: Request, person: Annotator, site: TheSite) -> Response:
    """To the next question, which is leased on the way; or, when nothing is left, a page that says why."""
    project = site.project(request)
    turn = site.store.work.take(person.name, project, person.queues)
    if not isinstance(turn, str):
        return site.go(request, "question", number=turn.number)
    others = [name for name in site.store.projects.names() if name != project]
    return site.render(request, "done.html", why=turn, project=project, others=others)


@router.post("/projects", name="choose_project", openapi_extra=described(project="The project to work in."))
def choose(request: Request, person: Annotator, form: PostedForm, site: TheSite) -> Response:
    """Work in another project from now on."""
    wanted = field(form, "project")
    if wanted in site.store.projects.names():
        request.session["project"] = wanted
    return site.go(request, "next")
