"""The table of faults in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by tests/faults -->\n", "<!-- end of faults -->"


def rows() -> dict[str, str]:
    """Fault -> what happened, as the page has them."""
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    cells = [tuple(cell.strip() for cell in line.strip("|").split(" | ", 1)) for line in lines]
    return dict(cells)


def write(found: dict[str, str]) -> None:
    """Put these rows into the page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    table = "| fault | what happened |\n| --- | --- |\n" + "".join(f"| {a} | {b} |\n" for a, b in found.items())
    PAGE.write_text(f"{head}{BEGIN}{table}{END}{tail}", encoding="utf-8")
