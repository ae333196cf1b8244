"""Who may do what: every route against every role, sessions, invitations, forged forms."""

import re

import pytest
from fastapi.routing import APIRoute

from assent.web.app import SECURITY_HEADERS, create_app
from assent.web.routes import ALL_ROUTES

OPEN = {"/sign-in", "/sign-out", "/join/{token}", "/register", "/healthz"}
"""For anyone, signed in or not."""
ANY_ROLE = {"/", "/me", "/me/secret", "/instructions", "/live"}
WORK = {"/next", "/questions/{number}", "/undo", "/mine", "/projects"}
LOOK = {"/dashboard"}
ROUTES = sorted(
    {
        (method, route.path)
        for r in ALL_ROUTES
        for route in r.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
)
VALUES = {"{number}": "1", "{token}": "none"}


def may(role, path):
    if path in OPEN:
        return True
    if role is None:
        return False
    return (
        path in ANY_ROLE
        or role == "admin"
        or (role == "annotator" and path in WORK)
        or (role == "viewer" and path in LOOK)
    )


@pytest.mark.parametrize("role", [None, "annotator", "viewer", "admin"])
def test_every_route_against_every_role(visit, store, role):
    visitor = visit(store, None if role is None else "Pat", role or "annotator")
    token = visitor.csrf() if role else re.search(r'name="csrf" value="([^"]+)"', visitor.get("/sign-in").text)[1]
    visitor.http.follow_redirects = False
    for method, path in ROUTES:
        if path == "/sign-out":
            continue  # it would end the test; see test_sign_out_ends_the_session_in_the_store
        address = path
        for name, value in VALUES.items():
            address = address.replace(name, value)
        reply = visitor.request(method, address, data={"csrf": token} if method == "POST" else None)
        where = f"{role} {method} {path}: {reply.status_code}"
        assert reply.status_code < 500, where
        if may(role, path):
            assert reply.status_code != 403 or path == "/sign-in", where
            assert reply.headers.get("location") != "/sign-in", where
        elif role is None:
            assert (reply.status_code, reply.headers["location"]) == (303, "/sign-in"), where
        else:
            assert reply.status_code == 403, where
        for name, value in SECURITY_HEADERS.items():
            assert reply.headers[name] == value, where


def test_forms_need_the_sessions_own_token(visit, store):
    app = create_app(store)
    ann, bob = visit(store, "Ann", app=app), visit(store, "Bob", app=app)
    page = ann.get("/")
    for stolen in ("", "x", bob.csrf()):
        fields = {"csrf": stolen, **{f"rank-{name}": "1" for name in "ABCD"}}
        assert ann.post(page.url.path, data=fields).status_code == 403
    assert store.answers() == []


def test_invitations_get_nowhere_twice_or_late(visit, store):
    ann = visit(store)
    for token in ("made-up", store.people.invite("admin", "root", hours=1e-9)):
        page = ann.get(f"/join/{token}")
        assert page.status_code == 404
        assert "has expired" in page.text
    token = store.people.invite("annotator", "root")
    page = ann.get(f"/join/{token}")
    fields = {"csrf": re.search(r'name="csrf" value="([^"]+)"', page.text)[1], "name": "Ann"}
    assert ann.post(f"/join/{token}", data=fields).status_code == 422, "no secret"
    assert ann.post(f"/join/{token}", data={**fields, "secret": "battery staple"}).status_code == 200
    assert store.people.get("Ann").role == "annotator"
    assert visit(store).get(f"/join/{token}").status_code == 404


def test_sign_in_and_its_limit(visit, store):
    store.people.add("Ann", "annotator", "battery staple")
    ann = visit(store)
    token = re.search(r'name="csrf" value="([^"]+)"', ann.get("/sign-in").text)[1]
    statuses = [
        ann.post("/sign-in", data={"csrf": token, "name": name, "secret": "guess"}).status_code
        for name in ["Ann", "nobody", "", "a\nb", *["Ann"] * 18]
    ]
    assert statuses[:20] == [403] * 20
    assert statuses[20:] == [429] * 2
    other = visit(store)
    token = re.search(r'name="csrf" value="([^"]+)"', other.get("/sign-in").text)[1]
    page = other.post("/sign-in", data={"csrf": token, "name": " Ann ", "secret": "battery staple"})
    assert "Question 0?" in page.text


def test_sign_out_ends_the_session_in_the_store(visit, store):
    ann = visit(store, "Ann")
    stolen = dict(ann.cookies)
    ann.post("/sign-out", data={"csrf": ann.csrf()})
    ann.cookies.update(stolen)
    assert ann.get("/me").url.path == "/sign-in"


def test_forged_cookie_signs_nobody_in(visit, store):
    ann = visit(store, "Ann")
    name, value = next(iter(ann.cookies.items()))
    ann.cookies.clear()
    ann.cookies.set(name, value[:-4] + "AAAA")
    assert ann.get("/").url.path == "/sign-in"


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(visit, store):
    cookie = visit(store, https=True).get("https://testserver/sign-in").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" in cookie


def test_registration_is_closed_unless_opened(visit, store):
    assert visit(store).get("/register").status_code == 404
    eve = visit(store, open_registration=True)
    page = eve.get("/register")
    fields = {
        "csrf": re.search(r'name="csrf" value="([^"]+)"', page.text)[1],
        "name": "Eve",
        "secret": "battery staple",
    }
    assert "Question 0?" in eve.post("/register", data={**fields, "languages": "de"}).text
    assert (store.people.get("Eve").role, store.people.get("Eve").about.languages) == ("annotator", "de")


def test_rights_taken_away_hold_at_once(visit, store):
    ann = visit(store, "Ann")
    root = visit(store, "Root", "admin")
    root.post("/people/change", data={"csrf": root.csrf(), "who": "Ann", "role": "viewer", "active": "1"})
    assert ann.get("/next").status_code == 403
    root.post("/people/change", data={"csrf": root.csrf(), "who": "Ann", "role": "annotator"})
    assert ann.get("/next").url.path == "/sign-in"
    assert "change" in root.get("/audit").text


def test_admin_writes_instructions_settings_and_invitations(visit, store):
    root = visit(store, "Root", "admin")
    token = root.csrf()
    root.post("/project/instructions", data={"csrf": token, "text": "# Ours"})
    assert store.projects.instructions("default").text == "# Ours"
    root.post("/project/settings", data={"csrf": token, "overlap": "3", "budget": "50", "gold_every": "10"})
    assert store.projects.settings("default").overlap == 3
    for bad in ({"overlap": "0"}, {"overlap": "x"}, {"lease_minutes": "nan"}, {"qualification_pass": "2"}):
        assert root.post("/project/settings", data={"csrf": token, **bad}).status_code == 422
    link = re.search(r"/join/[\w-]+", root.post("/people/invite", data={"csrf": token, "role": "viewer"}).text)[0]
    assert visit(store).get(link).status_code == 200


def test_no_way_out_of_the_static_folder(visit, store):
    ann = visit(store)
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"):
        assert ann.get(path).status_code in (404, 405)
