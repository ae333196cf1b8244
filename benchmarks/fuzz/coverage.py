"""The same inputs, led by the coverage of the code: ``python -m benchmarks.fuzz.coverage TARGET [-runs=10000]``.

It needs atheris (``pip install atheris``), which no other part of this project does.  What follows the target's name
goes to libFuzzer; a fault ends it with its input in a file ``crash-…``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main() -> None:
    try:
        import atheris
    except ImportError:
        raise SystemExit("atheris is not installed: pip install atheris") from None
    with atheris.instrument_imports(include=["assent"]):
        from benchmarks.fuzz.target import Found, attempts
        from benchmarks.fuzz.targets import targets
    known = targets()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        raise SystemExit(f"name a target: {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="assent-fuzz-") as home:
        test = attempts(known[sys.argv[1]], Path(home), Found())
        atheris.Setup([sys.argv[0], *sys.argv[2:]], test.hypothesis.fuzz_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
