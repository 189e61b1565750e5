"""Who may import whom, and what may lie in the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "eventsourcing_kafka"
PACKAGES = ("producer", "consumer", "compose", "testing")

PUBLISHED_LANGUAGE = re.compile(
    r"producer(\.(kafka|runtime|wire)(\..+)?|\.published|\.\w+\.(domainmodel|diff|published))"
)
"""What a consumer may know of the producers: events, the wire, and what every process needs."""
NOT_FOR_CONSUMERS = ("producer.relay", "producer.outbox")
LOOKS_INTO_THE_WRITE_MODEL = "consumer.operations.history"
OF_OPERATORS = (
    *(LOOKS_INTO_THE_WRITE_MODEL, "consumer.operations.one_aggregate"),
    *("consumer.operations.commands.replay", "consumer.operations.commands.step"),
    *("consumer.operations.commands.run", "consumer.operations.commands.rebuild"),
    "consumer.operations.commands.as_of",
    "consumer.command_line",
)
"""For who mends one aggregate, or looks at one; and a consumer that runs has the way to the write
model, which it imports once Kafka has deleted what it needs."""

THE_WIKI = re.compile(
    r"(?i)content_?management|\bwiki\b|\bfts\b|\bfts_|(?<!pg_stat_)\bactivity\b(?! AS)|git_?import"
)
"""What nothing names but the wiki."""

THE_WIKIS = (
    *("producer/contentmanagement/", "producer/importer/"),
    *("consumer/views/fts/", "consumer/views/activity/"),
    *("compose/web/", "compose/stack/sample.py", "compose/stack/demo.py"),
    "compose/cluster/",  # How the examples are deployed.
    *("examples/", "tests/"),
)
"""Where the wiki is, and what shows it."""

THE_WIKIS_BUT = (
    *("compose/web/pipeline/", "compose/web/templates/pipeline/"),
    *("compose/web/base.py", "compose/web/templates/window.html"),
)
"""What lies there, and is about any pipeline."""

NEED_ASYNCIO = {
    "producer.relay.publisher",  # aiokafka's deliveries are asyncio's futures
    "producer.runtime.servers",  # what is said in a while takes no task that would wrap errors
}

FOR_OTHER_COMMANDS = {"fastapi", "jinja2", "pygit2", "starlette", "uvicorn"}
"""What takes its time to import, and neither loop needs before its first record."""

TOP_LEVEL = {
    *PACKAGES,
    "docs",
    "examples",
    "tests",
    "pyproject.toml",
    "CHANGELOG.md",
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
"""All modules by their names below the one that is imported."""


@cache
def imports(module: str) -> set[str]:
    """Return the modules that a module imports, wherever in its text; ours without the one name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(_imported_from(module, node))
    return {name.removeprefix(f"{NAME}.") for name in found}


def _imported_from(module: str, node: ast.ImportFrom) -> Iterator[str]:
    source = (node.module or "").removeprefix(f"{NAME}.")
    if node.level:
        inside = module.split(".")
        if MODULES[module].name != "__init__.py":
            inside.pop()
        above = inside[: len(inside) - node.level + 1]
        source = ".".join([*above, source]).rstrip(".")
    for alias in node.names:
        inner = f"{source}.{alias.name}"
        yield inner if inner in MODULES else source


def inside(*packages: str) -> list[str]:
    return sorted(module for module in MODULES if is_in(module, *packages))


def is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


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


def names_of_its_applications(module: str, imported: str) -> bool:
    """Tell whether a system's module names the applications that it puts together."""
    return module.endswith(".system") and bool(
        re.fullmatch(r"producer\.\w+\.application", imported)
    )


RULES: list[tuple[str, tuple[str, ...], Callable[[str, str], bool]]] = [
    (
        "a consumer knows the published language of the producers only",
        ("consumer",),
        lambda module, imported: (
            not is_in(imported, "producer")
            or bool(PUBLISHED_LANGUAGE.fullmatch(imported))
            or names_of_its_applications(module, imported)
            or (module, imported) == (LOOKS_INTO_THE_WRITE_MODEL, "producer.outbox")
        ),
    ),
    (
        "a consumer does not know who puts it together",
        ("consumer",),
        lambda _module, imported: not is_in(imported, "compose"),
    ),
    (
        "nobody but tests has the kit for tests",
        ("producer", "consumer", "compose"),
        lambda _module, imported: not is_in(imported, "testing"),
    ),
    (
        "a producer knows neither its consumers nor who puts it together",
        ("producer",),
        lambda _module, imported: not is_in(imported, "consumer", "compose"),
    ),
    (
        "what every process needs knows nothing of what it is for",
        ("producer.runtime",),
        lambda _module, imported: (
            not is_in(imported, "producer", "consumer", "compose")
            or is_in(imported, "producer.runtime")
        ),
    ),
    (
        "the wire knows neither of its ends",
        ("producer.wire", "producer.kafka"),
        lambda _module, imported: (
            not is_in(imported, "producer")
            or is_in(imported, "producer.wire", "producer.kafka", "producer.runtime")
        ),
    ),
    (
        "the outbox does not know the relay",
        ("producer.outbox",),
        lambda _module, imported: not is_in(imported, "producer.relay"),
    ),
    (
        "the loops know no write model",
        ("producer.outbox", "producer.relay"),
        lambda _module, imported: (
            not is_in(imported, "producer")
            or is_in(
                imported,
                *("producer.outbox", "producer.relay"),
                *("producer.wire", "producer.kafka", "producer.runtime"),
            )
        ),
    ),
]
"""Each rule, whom it binds, and whether a module may import another by it."""


@pytest.mark.parametrize(("rule", "bound", "may"), RULES, ids=[rule for rule, *_ in RULES])
def test_nobody_imports_what_is_not_for_them(
    rule: str, bound: tuple[str, ...], may: Callable[[str, str], bool]
) -> None:
    violations = [
        f"{module} imports {imported}"
        for module in inside(*bound)
        for imported in sorted(imports(module))
        if not may(module, imported)
    ]

    assert violations == [], rule


def test_nothing_that_a_consumer_imports_brings_the_relay_with_it() -> None:
    brought = [
        f"{module} brings {name}"
        for module in inside("consumer")
        if not is_in(module, *OF_OPERATORS)
        for name in sorted(reached(module))
        if is_in(name, *NOT_FOR_CONSUMERS)
    ]

    assert brought == []


def imported_with(module: str) -> set[str]:
    """Return all modules that Python has once it has imported one."""
    program = f"import sys, {NAME}.{module}; print(*sys.modules)"
    python = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return {name.removeprefix(f"{NAME}.") for name in python.stdout.decode().split()}


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("consumer", ("producer.relay", "producer.outbox", "compose")),
        ("consumer.command_line", ("producer.relay", "producer.outbox", "compose")),
        ("consumer.views.registry", ("producer.relay", "producer.outbox", "compose")),
        ("producer.command_line", ("consumer", "compose")),
    ],
)
def test_what_is_not_for_a_program_is_not_there_when_it_runs(
    module: str, without: tuple[str, ...]
) -> None:
    assert sorted(name for name in imported_with(module) if is_in(name, *without)) == []


def test_structure_comes_from_anyio_and_asyncio_only_where_a_client_needs_it() -> None:
    needing = {
        module for module in MODULES if any(is_in(name, "asyncio") for name in imports(module))
    }

    assert needing == NEED_ASYNCIO


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("module", ["producer.command_line", "consumer.command_line"])
def test_a_loop_starts_without_what_only_other_commands_need(module: str) -> None:
    imported = imported_with(module)

    assert "aiokafka" in imported
    assert FOR_OTHER_COMMANDS.isdisjoint(imported)


def test_the_imports_of_a_module_are_found_whole() -> None:
    assert "producer.runtime.retry" in imports("producer.relay.relay")
    assert "producer.relay.publisher" in reached("producer.relay")
    assert "anyio.to_thread" in imports("compose.servers.kafka")


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_refuses_to_be_imported_as_a_second_copy(package: str) -> None:
    second = subprocess.run(
        [sys.executable, "-c", f"import {package}"], capture_output=True, cwd=ROOT, check=False
    )

    assert second.returncode == 1
    assert f"This package is called {NAME}.{package}." in second.stderr.decode()


def lines_about_the_wiki(name: str) -> Iterator[str]:
    """Yield the lines of a file that name the wiki."""
    for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), 1):
        if THE_WIKI.search(line):
            yield f"{name}:{number}: {line.strip()}"


def test_nothing_knows_the_wiki_but_the_wiki() -> None:
    files = [
        name
        for name in files_of_the_tree()
        if name.startswith(tuple(f"{package}/" for package in PACKAGES))
        and not (name.startswith(THE_WIKIS) and not name.startswith(THE_WIKIS_BUT))
    ]

    assert len(files) > len(PACKAGES) * 10
    assert [line for name in files for line in lines_about_the_wiki(name)] == []


def test_the_wiki_is_found_where_it_is_named() -> None:
    assert list(lines_about_the_wiki("compose/stack/sample.py"))
    assert list(lines_about_the_wiki("consumer/views/activity/view.py"))


def test_nothing_else_lies_at_the_top() -> None:
    top = {name.split("/", 1)[0] for name in files_of_the_tree()}

    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_no_file_names_a_package_registry_or_a_place_outside_the_tree() -> None:
    texts = {name: (ROOT / name).read_text(errors="replace") for name in files_of_the_tree()}

    assert [(name, word) for name in texts for word in FORBIDDEN if word in texts[name]] == []


@pytest.mark.parametrize("lock", ["uv.lock", "tests/language/package-lock.json"])
def test_the_locks_name_no_host(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()
