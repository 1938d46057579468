"""The import graph in docs/architecture.md is that of the source, and its arrows go down."""

from tools import import_graph


def test_document_shows_the_graph_as_it_is() -> None:
    shown = import_graph.BLOCK.findall(import_graph.DOCUMENT.read_text(encoding="utf-8"))
    assert [graph for _, graph, _ in shown] == [import_graph.draw()], (
        "python -m tools.import_graph --write"
    )


def test_imports_only_go_down() -> None:
    order = import_graph.rooms()
    arrows = import_graph.arrows()
    assert list(arrows) == list(order)
    for room, others in arrows.items():
        assert all(order.index(room) < order.index(other) for other in others)
    assert arrows["core.contract"] == []
    assert "core.sync" in arrows["shell.sync"]


def test_every_module_is_in_a_room() -> None:
    counted = [path for paths in import_graph.modules().values() for path in paths]
    top = {import_graph.SOURCE / "__main__.py"}
    everything = {*import_graph.SOURCE.rglob("*.py")} - top
    assert {*counted} == {path for path in everything if path.name != "__init__.py"}


def test_rooms_that_only_a_function_imports_are_drawn() -> None:
    """Most of what the command imports is imported when it is used."""
    assert "shell.sync" in import_graph.arrows()["cli"]
