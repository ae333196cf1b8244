"""Run the labelling app on this machine."""

from __future__ import annotations

import errno
import getpass
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from assent.errors import UserError
from assent.feedback.questions import DEFAULT_PROJECT
from assent.feedback.store import FeedbackStore
from assent.web.app import create_app
from assent.web.session import clean_name


def serve(
    store_url: str | Path,
    host: str = "127.0.0.1",
    port: int = 8321,
    instructions: str | None = None,
    root_path: str = "",
    title: str = "assent",
    https: bool = False,
    open_registration: bool = False,
    name: str | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted.  ``ready`` is called with the address once it is bound.

    ``instructions`` is Markdown, kept as a new version of the default project's where it is another text; ``None``
    leaves them.  ``port`` 0 takes any free one.  ``name``: an address that lets this person in once, as an
    administrator, is what ``ready`` is called with; ``None``: the one who is logged in on this machine, where the host
    is this machine alone or the store has no administrator yet.  Raises :class:`UserError` when the port is taken or
    the host is not of this machine, before anything is served.
    """
    with FeedbackStore.open(store_url) as store:
        if instructions is not None:
            store.projects.write_instructions(DEFAULT_PROJECT, instructions, "the command line")
        app = create_app(store, title, root_path, https, open_registration)
        with listen(host, port) as listening:
            ready(address(listening, root_path) + _way_in(store, host, name))
            config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
            uvicorn.Server(config).run(sockets=[listening])


def _way_in(store: FeedbackStore, host: str, name: str | None) -> str:
    """The rest of an address that lets an administrator in once; empty where none should be given out."""
    alone = not any(person.role == "admin" and person.active for person in store.people.all())
    if name is None and not (alone or _is_loopback(host)):
        return ""
    person = clean_name(name or getpass.getuser())
    token = store.people.invite("admin", by="the command line", hours=12, annotator=person)
    return f"join/{token}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(listening: socket.socket, root_path: str = "") -> str:
    """What to type into a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root_path}/"


def listen(host: str, port: int) -> socket.socket:
    """A bound socket: an own bind tells a taken port apart, where the server would log it and exit."""
    nowhere = UserError(
        f"cannot serve on {host}:{port}: no such address; give a host of this machine and a port from 0 to 65535"
    )
    # getaddrinfo takes port 70000 for 4464 and says nothing.
    if not 0 <= port <= 65535:
        raise nowhere
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise nowhere from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        # Bound is not yet taken: only listening makes a second server on the same port fail.
        listening.listen()
        return listening
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} on {host} is in use; stop what runs there, or give another port") from None
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} needs administrator rights; give a port from 1024 on") from None
        raise UserError(f"cannot serve on {host}:{port}: {error.strerror}; give a host of this machine") from None
