"""Who may import whom, and what may lie in the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("producer", "consumer", "compose")

PUBLISHED_LANGUAGE = re.compile(r"producer(\.wire(\..+)?|\.published|\.\w+\.(domainmodel|diff))")
A_SYSTEM_NAMES_ITS_APPLICATIONS = re.compile(r"producer\.\w+\.application")
NOT_FOR_CONSUMERS = ("producer.relay", "producer.outbox")

A_RUNNER_IS_BOTH_ENDS_IN_ONE_PROCESS = "compose.runner"

NEED_ASYNCIO = {
    "producer.relay.publisher",  # aiokafka's deliveries are asyncio's futures
}

FOR_OTHER_COMMANDS = {"fastapi", "jinja2", "pygit2", "starlette", "uvicorn"}
"""What takes its time to import, and neither loop needs before its first record."""

TOP_LEVEL = {
    *PACKAGES,
    "examples",
    "tests",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "uv.lock",
    "LICENSE",
}

# Put together here, so that they are not found in this file.
FORBIDDEN = [
    ".".join(host)
    for host in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    ]
] + ["shared" + "/"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
}


def imports(module: str) -> set[str]:
    """Return the modules that a module imports, wherever in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(_imported_from(module, node))
    return found


def _imported_from(module: str, node: ast.ImportFrom) -> Iterator[str]:
    source = node.module or ""
    if node.level:
        inside = module.split(".")
        if MODULES[module].name != "__init__.py":
            inside.pop()
        above = inside[: len(inside) - node.level + 1]
        source = ".".join([*above, source]).rstrip(".")
    for alias in node.names:
        inner = f"{source}.{alias.name}"
        yield inner if inner in MODULES else source


def inside(package: str) -> list[str]:
    return sorted(module for module in MODULES if is_in(module, package))


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports_from(module: str, *packages: str) -> set[str]:
    return {name for name in imports(module) if any(is_in(name, package) for package in packages)}


def reached(module: str) -> set[str]:
    """Return all modules of ours that come with importing a module."""
    found: set[str] = set()
    to_visit = {module}
    while to_visit:
        found |= to_visit
        to_visit = {name for at in to_visit for name in imports(at) if name in MODULES} - found
    return found


def files_of_the_tree() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def consumers() -> list[str]:
    runner = A_RUNNER_IS_BOTH_ENDS_IN_ONE_PROCESS
    return [module for module in inside("consumer") if not is_in(module, runner)]


@pytest.mark.parametrize("module", consumers())
def test_a_consumer_knows_the_published_language_of_the_producers_only(module: str) -> None:
    foreign = {
        name for name in imports_from(module, "producer") if not PUBLISHED_LANGUAGE.fullmatch(name)
    }

    if module.endswith(".system"):
        foreign = {name for name in foreign if not A_SYSTEM_NAMES_ITS_APPLICATIONS.fullmatch(name)}
    assert foreign == set()


@pytest.mark.parametrize("module", consumers())
def test_no_consumer_knows_the_runner(module: str) -> None:
    assert imports_from(module, A_RUNNER_IS_BOTH_ENDS_IN_ONE_PROCESS) == set()


@pytest.mark.parametrize("module", consumers())
def test_nothing_that_a_consumer_imports_brings_the_relay_with_it(module: str) -> None:
    assert [
        name for name in reached(module) for banned in NOT_FOR_CONSUMERS if is_in(name, banned)
    ] == []


@pytest.mark.parametrize("module", inside("consumer"))
def test_a_consumer_does_not_know_who_puts_it_together(module: str) -> None:
    assert imports_from(module, "compose") == set()


@pytest.mark.parametrize("module", inside("producer"))
def test_a_producer_knows_neither_its_consumers_nor_who_puts_it_together(module: str) -> None:
    assert imports_from(module, "consumer", "compose") == set()


@pytest.mark.parametrize("module", inside("producer.wire"))
def test_the_wire_knows_neither_of_its_ends(module: str) -> None:
    assert imports_from(module, "producer") == imports_from(module, "producer.wire")


@pytest.mark.parametrize("module", inside("producer.outbox"))
def test_the_outbox_does_not_know_the_relay(module: str) -> None:
    assert imports_from(module, "producer.relay") == set()


@pytest.mark.parametrize("module", [*inside("producer.outbox"), *inside("producer.relay")])
def test_the_loops_know_no_write_model(module: str) -> None:
    known = ("producer.outbox", "producer.relay", "producer.wire")

    assert imports_from(module, "producer") == imports_from(module, *known)


def test_structure_comes_from_anyio_and_asyncio_only_where_a_client_needs_it() -> None:
    assert {module for module in MODULES if imports_from(module, "asyncio")} == NEED_ASYNCIO


@pytest.mark.parametrize("command", ["producer.__main__", "consumer.__main__"])
def test_a_loop_starts_without_what_only_other_commands_need(command: str) -> None:
    program = f"import sys, {command}; print(*sys.modules)"
    python = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    imported = python.stdout.decode().split()

    assert "aiokafka" in imported
    assert FOR_OTHER_COMMANDS.isdisjoint(imported)


def test_the_imports_of_a_module_are_found_whole() -> None:
    assert "producer.runtime.retry" in imports("producer.relay.relay")
    assert "producer.relay.publisher" in reached("producer.relay")
    assert "anyio.to_thread" in imports("compose.servers.kafka")


def test_nothing_else_lies_at_the_top() -> None:
    top = {name.split("/", 1)[0] for name in files_of_the_tree()}

    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_no_file_names_a_package_registry_or_a_place_outside_the_tree() -> None:
    texts = {name: (ROOT / name).read_text(errors="replace") for name in files_of_the_tree()}

    assert [(name, word) for name in texts for word in FORBIDDEN if word in texts[name]] == []


@pytest.mark.parametrize("lock", ["uv.lock", "tests/language/package-lock.json"])
def test_the_locks_name_no_host(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()
