"""Of the engine, only what reads from Kafka needs its client."""

import ast

from tests.pipeline import ROOT

NEEDS_IT = {"low_water.py", "search.py", "subscription.py"}


def test_what_applies_and_tracks_does_not_import_the_kafka_client() -> None:
    importing = {
        path.name
        for path in (ROOT / "consumer" / "engine").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if any(name.split(".")[0] == "aiokafka" for name in imported(node))
    }
    assert importing == NEEDS_IT


def imported(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [node.module or ""]
    return []
