"""Who may import whom (CONTRIBUTING.md), read from the source, and what a plain import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CORE = {"records", "space", "features"}
MAY_IMPORT = {
    "records": set(),
    "space": set(),
    "features": {"records", "space", "features_gpu"},
    "features_gpu": {"records", "space"},
    "measure": {"records"},
    "history": {"records", "space"},
    "provenance": {"records", "measure"},
    "models": CORE,
    "search": {"space"},
    "tuner": CORE | {"history", "measure"},
    "transfer": CORE | {"history", "models", "search", "tuner"},
    "deep_transfer": CORE | {"history", "models", "transfer"},
    "replay": CORE | {"tuner"},
    "layers": {"records"},
    "tables": CORE | {"history", "autotvm", "layers"},
    "metrics": {"records"},
    "summary": CORE | {"history"},
    "progress": {"records"},
    "style": set(),
    "curves": {"records", "history", "metrics", "style"},
    "figures": {"records", "history", "metrics", "style", "curves"},
    "report": {"records", "summary", "progress"},
    "runs": {"records", "history", "provenance", "summary"},
    "page": {"style"},
    "report_html": {"records", "metrics", "curves", "figures", "page", "progress", "runs"},
    "tracking": {"records", "metrics", "runs"},
    "tracking_offline": {"runs", "tracking"},
    "autotvm": CORE | {"history"},
    "tvm": CORE | {"history", "measure", "provenance"},
    "baselines": CORE | {"history", "measure", "metrics", "models", "search", "transfer", "tuner"},
}
"""For every part, the parts that it may import beside itself; `experiment` may import all."""

CORNERS = {
    "tensorflow": {"dgtl/models/dgp", "baselines/ppo"},
    "tf_keras": {"dgtl/models/dgp", "baselines/ppo"},
    "gpflow": {"dgtl/models/dgp"},
    "gpflux": {"dgtl/models/dgp"},
    "tvm": {"dgtl/tvm/", "dgtl/run/live.py"},
    "wandb": {"dgtl/tracking/tracker.py"},
    "hydra": {"dgtl/experiment"},
    "omegaconf": {"dgtl/experiment"},
}
"""For every heavy package, the files that may import it, by the beginning of their path."""


def sources() -> list[Path]:
    return sorted(p for folder in ("dgtl", "baselines") for p in (ROOT / folder).rglob("*.py"))


def imports(path: Path, *, types: bool) -> set[str]:
    """Dotted names imported anywhere in a file; those for type checking only if asked for."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not types:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def part_of(dotted: str) -> str:
    """``dgtl.models.deep_gp.model`` is of ``models``, ``baselines.gga`` of ``baselines``, others none."""
    names = dotted.split(".")
    if names[0] == "baselines":
        return "baselines"
    if names[0] != "dgtl" or len(names) < 2 or names[1] == "__version__":
        return ""
    return names[1]


def part_of_file(path: Path) -> str:
    return part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_import_only_what_they_may(path):
    part = part_of_file(path)
    if part in ("", "__init__") or part.startswith("experiment"):
        return
    assert part in MAY_IMPORT, f"say in MAY_IMPORT what '{part}' may import"
    used = {part_of(name) for name in imports(path, types=False)} - {"", part}
    assert used <= MAY_IMPORT[part]


def test_who_may_import_whom_has_no_cycles():
    order: list[str] = []

    def visit(part: str, above: tuple[str, ...]) -> None:
        assert part not in above, " -> ".join((*above, part))
        if part not in order:
            for other in sorted(MAY_IMPORT[part]):
                visit(other, (*above, part))
            order.append(part)

    for part in MAY_IMPORT:
        visit(part, ())
    assert set(order) == set(MAY_IMPORT)


def test_nothing_imports_the_experiment():
    users = [p for p in sources() if "experiment" in {part_of(n) for n in imports(p, types=True)}]
    assert users == []


@pytest.mark.parametrize("package", sorted(CORNERS))
def test_heavy_packages_stay_in_their_corners(package):
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(tuple(CORNERS[package])):
            used = {dotted.split(".")[0] for dotted in imports(path, types=False)}
            assert package not in used, f"{name} imports {package}"


@pytest.mark.parametrize(
    "module",
    [
        "dgtl",
        "dgtl.core.records",
        "dgtl.core.history",
        "dgtl.methods.base",
        "dgtl.methods.transfer",
        "dgtl.methods.dgp",
        "dgtl.report.figures",
        "dgtl.report.console",
        "dgtl.tracking.tracker",
        "dgtl.models",
    ],
)
def test_import_is_light(module):
    heavy = ("tensorflow", "tvm", "wandb", "hydra", "matplotlib")
    code = f"import sys, {module}; print(*[p for p in {heavy} if p in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
