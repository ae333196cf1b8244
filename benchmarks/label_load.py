"""200 annotators at once against the labelling app, then a ``kill -9`` of it, on SQLite and on PostgreSQL.

    python -m benchmarks.label_load [--annotators 200] [--seconds 60] [--think 5] [--questions 2000] [--only SQLite]

The server is a process of its own, reached through HTTP; annotators think for an exponential time of mean ``--think``
seconds, open a question, rank it and go on.  A time is that of one request, a page or an answer; an answer is on
the disk before it is acknowledged.  Times count once everybody has joined and thought for the first time.  In the
middle of the load the server is killed and started again; at the end every answer that was acknowledged must be in the
store exactly once.  The last line is JSON, of the database that did worse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from sqlalchemy import create_engine, make_url, text

from assent.feedback import FeedbackStore, Question
from assent.types import Prompt

SERVER = os.environ.get("ASSENT_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
START = (
    "import sys; from assent.web.serve import serve; serve(sys.argv[1], port=int(sys.argv[2]), ready=lambda a: None)"
)
HIDDEN = re.compile(r'<input type="hidden" name="(csrf|key)" value="([^"]+)"')


class Load:
    """What was measured of one database."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.measuring = False
        self.joined = 0
        self.begun = asyncio.Event()
        self.until = 0.0


def start(store: str, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", START, store, str(port)])
    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server did not come up")


async def annotate(load: Load, base: str, token: str, name: str, think: float) -> None:
    """One person: joins, then answers until the time is over, and sends again what was not acknowledged."""
    draw = random.Random(name)
    # An address of one's own, as people have: the limit on attempts to get in counts by address.
    number = int(name.split()[1])
    transport = httpx.AsyncHTTPTransport(local_address=f"127.0.0.{2 + number % 250}")
    async with httpx.AsyncClient(base_url=base, transport=transport, follow_redirects=True, timeout=30) as client:
        page = await client.get(f"/join/{token}")
        page = await client.post(f"/join/{token}", data=dict(HIDDEN.findall(page.text)))
        load.joined += 1
        await load.begun.wait()
        await asyncio.sleep(draw.uniform(0, think))
        while time.monotonic() < load.until:
            fields = dict(HIDDEN.findall(page.text))
            if "key" not in fields:
                return
            await asyncio.sleep(draw.expovariate(1 / think))
            ranks = dict(zip(("rank-A", "rank-B", "rank-C", "rank-D"), draw.sample("1234", 4), strict=True))
            reply = await again(load, client, "POST", page.url.path, {**fields, **ranks})
            load.acknowledged.append((name, int(page.url.path.rsplit("/", 1)[1])))
            page = await again(load, client, "GET", reply.json()["next"])


async def again(
    load: Load, client: httpx.AsyncClient, method: str, path: str, data: dict[str, str] | None = None
) -> httpx.Response:
    """Send until there is a reply; its time counts while no kill is in the way."""
    headers = {"accept": "application/json"} if method == "POST" else {}
    while True:
        began, measuring = time.perf_counter(), load.measuring
        try:
            reply = await client.request(method, path, data=data, headers=headers)
            if reply.status_code != 200:
                raise SystemExit(f"{method} {path}: {reply.status_code} {reply.text[:300]}")
            if measuring and load.measuring:
                load.times.append(time.perf_counter() - began)
            return reply
        except httpx.TransportError:
            await asyncio.sleep(0.3)


async def run(load: Load, store: str, tokens: dict[str, str], seconds: float, think: float) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(store, port)
    base = f"http://127.0.0.1:{port}"
    people = [asyncio.ensure_future(annotate(load, base, t, n, think)) for n, t in tokens.items()]
    try:
        while load.joined < len(people) and not any(person.done() for person in people):
            await asyncio.sleep(0.1)
        load.until = time.monotonic() + think + seconds
        load.begun.set()
        await asyncio.sleep(think)
        load.measuring = True
        await asyncio.sleep(seconds * 0.7)
        load.measuring = False
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process = await asyncio.to_thread(start, store, port)
        await asyncio.gather(*people)
    finally:
        process.kill()
        process.wait()


def measure(store: str, given: argparse.Namespace) -> dict[str, float]:
    texts = tuple(f"Answer {i}: " + "some words that are read. " * 20 for i in range(4))
    with FeedbackStore.open(store) as opened:
        opened.add_questions(
            Question(f"q{n}", Prompt(f"p{n}", text=f"Question {n}?"), ("a", "b", "c", "d"), texts)
            for n in range(given.questions)
        )
        names = [f"annotator {n}" for n in range(given.annotators)]
        tokens = {name: opened.people.invite("annotator", "the benchmark", annotator=name) for name in names}
    load = Load()
    asyncio.run(run(load, store, tokens, given.seconds, given.think))
    with FeedbackStore.open(store) as opened:
        numbers = opened.work.numbers_of({question.id for question in opened.questions()})
        kept = Counter((answer.annotator, numbers[answer.question.id]) for answer in opened.answers())
    missing = sum(kept[answer] != 1 for answer in load.acknowledged)
    if missing:
        raise SystemExit(f"{missing} acknowledged answers are not in the store exactly once")
    return {
        "annotators": given.annotators,
        "p95_ms": round(1000 * float(np.quantile(load.times, 0.95)), 1),
        "acknowledged": len(load.acknowledged),
        "stored": sum(kept[answer] for answer in load.acknowledged),
        "duplicates": sum(count - 1 for count in kept.values()),
    }


@contextmanager
def new_database() -> Iterator[str]:
    """The address of a PostgreSQL database that is dropped at the end."""
    name = f"assent_load_{uuid.uuid4().hex[:12]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--think", type=float, default=5.0)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    if given.only != "PostgreSQL":
        with tempfile.TemporaryDirectory() as folder:
            found["SQLite"] = measure(str(Path(folder) / "feedback.sqlite"), given)
    if given.only != "SQLite":
        with new_database() as address:
            found["PostgreSQL"] = measure(address, given)
    worse = max(found, key=lambda database: found[database]["p95_ms"])
    for database in sorted(found, key=lambda one: one == worse):
        print(f"{database}:")
        print(json.dumps(found[database]), flush=True)


if __name__ == "__main__":
    main()
