"""Who may import whom (docs/architecture.md), read from the source; what an import costs."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dgtl", "baselines", "experiments")

MAY_IMPORT = {
    "core": "",
    "device": "",
    "features": "core",
    "measure": "core",
    "search": "core",
    "results": "core",
    "autotvm_logs": "core",
    "models": "core features",
    "tables": "core features autotvm_logs",
    "report": "core results",
    "tracking": "core results",
    "tvm": "core device measure",
    "methods": "core features measure search models",
    "baselines": "core features search models methods",
    "run": "core device features measure search results autotvm_logs models tables report tracking "
    "tvm methods",
    "front": "core features autotvm_logs results tvm methods run",
    "experiments": "core device features measure results models tables report tvm methods run "
    "front",
}
"""For every room, the rooms that it may import beside itself."""

MOST_FLOORS = 7

STANDS_ALONE = ROOT / "dgtl" / "device"
"""Travels without dgtl and under another name, so that its files import each other relatively."""

CORNERS = {
    "tensorflow": ("dgtl/models/deep_gp/", "dgtl/models/residual_gp/", "baselines/chameleon/"),
    "tf_keras": ("baselines/chameleon/",),
    "gpflow": ("dgtl/models/unchecked.py",),
    "gpflux": ("dgtl/models/unchecked.py",),
    "tvm": (
        "dgtl/tvm/",
        "dgtl/front/cost_model.py",
        "dgtl/run/job.py",
        "dgtl/run/live.py",
        "dgtl/run/visits.py",
        "experiments/latency/systems.py",
    ),
    "wandb": ("dgtl/tracking/",),
    "hydra": ("dgtl/run/", "experiments/"),
    "omegaconf": ("dgtl/run/", "experiments/"),
}
"""For every heavy package, the places that may import it."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports when it runs, late ones in functions included."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if path.parent != STANDS_ALONE:
                assert node.level == 0, f"{path}: imports are absolute here"
            module = f"dgtl.device.{node.module}" if node.level else node.module
            found.update(f"{module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return frozenset(found)


def own_modules(path: Path) -> set[str]:
    """Modules of this program that a file imports."""
    found = set()
    for dotted in imports(path):
        while dotted and dotted not in SOURCES:
            dotted = dotted.rpartition(".")[0]
        found |= {dotted} if dotted else set()
    return found


def room_of(module: str) -> str:
    """The folder of a module of dgtl; ``baselines`` and ``experiments`` are a room each."""
    package, *rest = module.split(".")
    return package if package != "dgtl" else rest[0] if rest else ""


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """How many floors lie below each node; a circle is an error that names it."""
    known: dict[str, int] = {}

    def visit(node: str, above: tuple[str, ...]) -> int:
        assert node not in above, " -> ".join((*above, node))
        if node not in known:
            below = [visit(other, (*above, node)) for other in sorted(graph[node])]
            known[node] = 1 + max(below, default=0)
        return known[node]

    for node in graph:
        visit(node, ())
    return known


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_rooms_import_only_what_they_may(module):
    room = room_of(module)
    if room:
        used = {room_of(other) for other in own_modules(SOURCES[module])} - {"", room}
        assert used <= set(MAY_IMPORT[room].split()), f"say in MAY_IMPORT what {room} may import"


def test_the_house_has_no_circle_and_few_floors():
    table = {room: set(others.split()) for room, others in MAY_IMPORT.items()}
    assert set(table) == {room_of(module) for module in SOURCES} - {""}
    assert max(floors(table).values()) <= MOST_FLOORS


def test_no_file_imports_itself_by_way_of_others():
    floors({module: own_modules(path) - {module} for module, path in SOURCES.items()})


def test_methods_are_asked_by_name_and_never_imported_by_a_run():
    for module, path in SOURCES.items():
        if room_of(module) == "run":
            assert {m for m in own_modules(path) if m.startswith("dgtl.methods.")} <= {
                "dgtl.methods.base",
                "dgtl.methods.even",
                "dgtl.methods.loop",
                "dgtl.methods.schedule",
                "dgtl.methods.schedulers",
            }


@pytest.mark.parametrize("package", sorted(CORNERS))
def test_heavy_packages_stay_in_their_corners(package):
    for path in SOURCES.values():
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(CORNERS[package]):
            used = {dotted.split(".")[0] for dotted in imports(path)}
            assert package not in used, f"{name} imports {package}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "dgtl",
        "dgtl.core.history",
        "dgtl.device.parent",
        "dgtl.device.archive",
        "dgtl.methods.loop",
        "dgtl.methods.dgp",
        "dgtl.models",
        "dgtl.report.console",
        "dgtl.report.figures",
        "dgtl.tracking.tracker",
    ],
)
def test_import_is_light(module):
    heavy = ("tensorflow", "tvm", "wandb", "hydra", "matplotlib")
    code = f"import sys, {module}; print(*[p for p in {heavy} if p in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
