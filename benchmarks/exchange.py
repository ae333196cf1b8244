"""A file of a million comparisons into a store and out of it again: rows a second, and the memory that it takes.

    python -m benchmarks.exchange [--rows 1000000] [--store ADDRESS] [--import-only]

Each row is a question of two answers and one person's preference, of about 600 characters.  Import and exports run as
``assent label`` in processes of their own; memory is the most that each ever held.  The same file is then imported
again, where every row must be found to be known.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = "the a of and to in is was it for with on that as at by this from be are or an not have but".split()


def write_file(path: Path, rows: int) -> None:
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choices(WORDS, k=words))

    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = {"prompt": f"{number}: {text(30)}", "chosen": " " + text(50), "rejected": " " + text(50)}
            file.write(json.dumps(row) + "\n")


def label(*words: str) -> tuple[dict[str, Any], float, float]:
    """What ``assent label`` printed as JSON, its seconds and its peak memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "assent", "label", *words, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"assent label {' '.join(words)}: status {process.returncode}")
    seconds, busy, peak = time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(f"{words[0]}: {seconds:.1f} s, of processor {busy:.1f} s, {peak:.0f} MB", flush=True)
    return json.loads(printed), seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--import-only", action="store_true")
    parser.add_argument("--store", help="postgresql:// address of an empty database; a SQLite file when left out")
    given = parser.parse_args()
    found: dict[str, float] = {"rows": given.rows}
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "pairs.jsonl", Path(folder) / "out.jsonl"
        store = given.store or str(Path(folder) / "feedback.db")
        write_file(source, given.rows)
        read, seconds, peak = label("import", str(source), "--into", store, "--format", "trl")
        assert read["answers"] == given.rows, read
        found.update(import_rows_s=round(given.rows / seconds), import_peak_mb=round(peak))
        if given.import_only:
            print(json.dumps(found))
            return
        for form in ("records", "store"):
            written, seconds, peak = label("export", store, "--format", form, "--out", str(out))
            assert max(written["written"].values()) == given.rows, written
            found.update({f"export_{form}_rows_s": round(given.rows / seconds), f"export_{form}_peak_mb": round(peak)})
            out.unlink()
        read, seconds, _ = label("import", str(source), "--into", store, "--format", "trl")
        assert (read["answers"], read["known"]) == (0, given.rows), read
        found["again_rows_s"] = round(given.rows / seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
