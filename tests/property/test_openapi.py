"""Generated requests to every route in the OpenAPI description: none may break the server."""

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from assent.feedback import FeedbackStore
from assent.web.app import create_app
from tests.unit.web.conftest import Visitor, question


def test_generated_requests_break_nothing(tmp_path):
    with FeedbackStore.open(tmp_path / "feedback.sqlite") as store:
        store.add_questions([question(n) for n in range(20)])
        app = create_app(store, open_registration=True)
        # Every request must reach the page behind it.
        app.state.limits.change = app.state.limits.attempt = lambda *_: None
        description = app.openapi()
        # Signing out would leave the rest at the door, and a changed secret too; each has tests of its own.
        for path in ("/sign-out", "/me/secret"):
            del description["paths"][path]
        with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
            visitor = Visitor(client)
            client.follow_redirects = True
            token = visitor.join(store, "Root", "admin").csrf()
            client.follow_redirects = False
            for operation in schemathesis.openapi.from_dict(description).get_all_operations():
                _try(operation.ok(), client, dict(client.cookies), token)


def _try(operation, client, cookies, token):
    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy())
    def send(case):
        client.cookies.clear()
        client.cookies.update(cookies)
        kwargs = case.as_transport_kwargs(base_url="http://testserver")
        headers = {**{k: v for k, v in (kwargs.get("headers") or {}).items() if v.isascii()}, "x-csrf-token": token}
        reply = client.request(
            kwargs["method"], kwargs["url"], params=kwargs.get("params"), data=kwargs.get("data"), headers=headers
        )
        assert reply.status_code < 500, f"{case.method} {kwargs['url']} {kwargs.get('data')}: {reply.text[:500]}"

    send()
