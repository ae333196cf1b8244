import re

import fixture
import pytest

from assent.reports.lineage import Layout, lay_out

UPSTREAM = {name: tuple(inputs) for name, _, _, inputs in fixture.STAGES}


def test_edges_that_a_path_implies_are_left_out() -> None:
    edges = {(edge.source, edge.target) for edge in lay_out({"a": (), "b": ("a",), "c": ("a", "b")}).edges}
    assert edges == {("a", "b"), ("b", "c")}


def test_edges_of_the_loop() -> None:
    edges = {(edge.source, edge.target) for edge in lay_out(UPSTREAM).edges}
    assert ("reward", "ppo") in edges
    assert ("sft", "ppo") not in edges  # through sample, rank, compare and reward
    assert {source for source, target in edges if target == "evaluate"} == {"ppo", "dpo"}


@pytest.mark.parametrize("across", [True, False])
def test_boxes_lie_inside_the_picture_and_apart(across: bool) -> None:
    layout = lay_out(UPSTREAM | {"lonely": (), "second": ("lonely",), "evaluate2": ("second", "evaluate")}, across)
    for node in layout.nodes:
        assert layout.box[0] / 2 <= node.x <= layout.width - layout.box[0] / 2
        assert layout.box[1] / 2 <= node.y <= layout.height - layout.box[1] / 2
    for i, a in enumerate(layout.nodes):
        for b in layout.nodes[:i]:
            assert abs(a.x - b.x) >= layout.box[0] or abs(a.y - b.y) >= layout.box[1]


@pytest.mark.parametrize("across", [True, False])
def test_every_stage_comes_after_what_it_reads(across: bool) -> None:
    layout = lay_out(UPSTREAM, across)
    at = {node.name: node.x if across else node.y for node in layout.nodes}
    assert all(at[source] < at[name] for name, sources in UPSTREAM.items() for source in sources)


def test_an_edge_past_a_layer_passes_beside_its_boxes() -> None:
    layout = lay_out({"a": (), "b": ("a",), "c": ("b",), "d": ("a",), "e": ("c", "d")})
    passing = _edge(layout, "d", "e")
    at_c = next(node for node in layout.nodes if node.name == "c")
    levels = [y for x, y in passing if abs(x - at_c.x) <= layout.box[0] / 2 + 0.1]
    assert levels
    assert all(abs(y - at_c.y) > layout.box[1] / 2 for y in levels)


def test_nothing_to_draw() -> None:
    assert lay_out({}).nodes == ()
    assert len(lay_out({"only": ()}).nodes) == 1


def _edge(layout: Layout, source: str, target: str) -> list[tuple[float, float]]:
    path = next(edge.path for edge in layout.edges if (edge.source, edge.target) == (source, target))
    figures = [float(x) for x in re.findall(r"-?[\d.]+", path)]
    return list(zip(figures[::2], figures[1::2], strict=True))
