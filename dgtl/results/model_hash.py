"""The model hash: which model made a result, whatever the revision of the program around it.

Equal hashes, equal trials from the same seed on the same problem. It is over

- the code that decides trials: the module of the method and what it imports, of the rooms in
  `DECIDING`, imports within functions included; what every method is given (`GIVEN`); and the
  scheduler. Comments, docstrings, formatting, imports for type checkers and the places of files do
  not count;
- the settings: the resolved ``model`` section of the configuration;
- major and minor versions of the packages in `PACKAGES` that this code imports.

What is learned from, how many trials there are and how they are measured is no part of the model.
All is read from the source: nothing is imported. The same on every machine with the same versions
and the same minor version of Python, whose syntax trees are hashed.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

UNKNOWN = "unknown"
"""Instead of a hash, where it was not kept or the method is not of this program."""

DECIDING = ("core", "features", "search", "models", "methods", "baselines")
"""Rooms whose code decides trials."""

GIVEN = (
    "dgtl.core.history",
    "dgtl.core.space",
    "dgtl.features.problem",
    "dgtl.methods.loop",
    "dgtl.methods.schedule",
)
"""What a method is handed or run by, whether it imports it or not."""

SCHEDULER = "dgtl.methods.{}"
"""The module of a scheduler, by its name."""

PACKAGES = {
    "gpflow": "gpflow",
    "gpflux": "gpflux",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow",
    "tensorflow_probability": "tensorflow-probability",
    "tf_keras": "tf-keras",
    "xgboost": "xgboost",
}
"""Distributions of the packages that decide, by the name that is imported."""

DIGITS = 8


def model_hash(
    settings: Mapping[str, Any] | None,
    program: Program | None = None,
    *,
    scheduler: str | None = None,
) -> str:
    """Hash [8 hex digits] of a method, or `UNKNOWN`.

    Args:
        settings: the ``model`` section, resolved, ``_target_`` included.
        program: whose code; this one if None.
        scheduler: that the run was given; None: the method's own.
    """
    program = this_program() if program is None else program
    if settings is None or program.module(settings.get("_target_", "")) is None:
        return UNKNOWN
    scheduler = scheduler or program.scheduler_of(str(settings["_target_"]))
    targets = [*_targets(settings), *([SCHEDULER.format(scheduler)] if scheduler else [])]
    code, packages = program.code(frozenset(filter(None, map(program.module, targets))))
    versions = {package: _version(PACKAGES[package]) for package in packages}
    text = json.dumps([code, _placeless(settings), versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@dataclasses.dataclass(frozen=True)
class Program:
    """The source of a program, read once: changes to the files need another.

    Args:
        root: folder with ``dgtl``, ``baselines`` and ``experiments``.
    """

    root: Path

    @functools.cached_property
    def modules(self) -> dict[str, Path]:
        """Files by the dotted names of their modules."""
        found = {}
        for package in ("dgtl", "baselines", "experiments"):
            for path in sorted((self.root / package).rglob("*.py")):
                parts = path.relative_to(self.root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def module(self, dotted: str) -> str | None:
        """The module of this program that a dotted name lies in, or is; None if in none."""
        while dotted and dotted not in self.modules:
            dotted = dotted.rpartition(".")[0]
        return dotted or None

    def reached(self, targets: frozenset[str]) -> list[str]:
        """The modules that decide what is in ``targets``, these included."""
        found: set[str] = set()
        new = {*targets, *(name for name in GIVEN if name in self.modules)}
        while new:
            found |= new
            near = {other for name in new for other in self._tree(name).imported}
            # A package's own file runs before any module in it.
            near |= {parent for name in new if (parent := name.rpartition(".")[0]) in self.modules}
            new = {name for name in near if _room(name) in DECIDING} - found
        return sorted(found)

    def code(self, targets: frozenset[str]) -> tuple[list[str], list[str]]:
        """Hashes of the modules that decide, and the packages in `PACKAGES` that they import."""
        trees = [self._tree(name) for name in self.reached(targets)]
        hashes = {_digest(tree.text(self._local)) for tree in trees if tree.body}
        packages = {package for tree in trees for package in tree.packages}
        return sorted(hashes), sorted(packages)

    def scheduler_of(self, dotted: str) -> str | None:
        """What a class, or else the first of its bases that does, sets as its ``scheduler``."""
        module = self.module(dotted)
        if module is None:
            return None
        imports = self._tree(module).imports
        imported = {here: f"{source}.{name}" for source, name, here in imports}
        for node in ast.parse(self.modules[module].read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef) or f"{module}.{node.name}" != dotted:
                continue
            for line in node.body:
                if not isinstance(line, ast.Assign | ast.AnnAssign) or line.value is None:
                    continue
                names = line.targets if isinstance(line, ast.Assign) else [line.target]
                if "scheduler" in map(ast.unparse, names):
                    return str(ast.literal_eval(line.value))
            bases = [ast.unparse(base) for base in node.bases]
            found = (self.scheduler_of(imported.get(b, f"{module}.{b}")) for b in bases)
            return next(filter(None, found), None)
        return None

    def _tree(self, name: str) -> _Tree:
        if name not in self._trees:
            self._trees[name] = _Tree.of(self.modules[name].read_text(encoding="utf-8"), self)
        return self._trees[name]

    @functools.cached_property
    def _trees(self) -> dict[str, _Tree]:
        return {}

    def _local(self, name: str) -> str:
        """What stands for a module where it is imported: its content, but for what it imports."""
        return _digest(self._tree(name).text(lambda _: ""))


@functools.cache
def this_program() -> Program:
    """The program that runs."""
    return Program(Path(__file__).parents[2])


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A module without what decides nothing.

    Args:
        body: its statements as text, with strings that stand alone, imports for type checkers and
            imports of this program taken out.
        imports: of this program: module, name in it (empty: itself), name here.
        packages: of `PACKAGES`, that it imports.
    """

    body: str
    imports: tuple[tuple[str, str, str], ...]
    packages: frozenset[str]

    @property
    def imported(self) -> set[str]:
        return {module for module, _, _ in self.imports}

    @classmethod
    def of(cls, text: str, program: Program) -> _Tree:
        bare = _Bare(program)
        tree = bare.visit(ast.parse(text))
        body = "\n".join(map(ast.dump, tree.body))
        return cls(body, tuple(sorted(bare.imports)), frozenset(bare.packages))

    def text(self, local: Callable[[str], str]) -> str:
        """All of it, in which ``local`` of a module stands for the module where it is imported."""
        imports = sorted((local(module), name, here) for module, name, here in self.imports)
        return f"{imports}\n{self.body}"


class _Bare(ast.NodeTransformer):
    """Takes from a tree what decides nothing, and this program's imports, which it collects."""

    def __init__(self, program: Program):
        self._program = program
        self.imports: list[tuple[str, str, str]] = []
        self.packages: set[str] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return None
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        node.names = [a for a in node.names if not self._own(a.name, a.asname or a.name)]
        return node if node.names else None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        node.names = [
            a for a in node.names if not self._own(f"{node.module}.{a.name}", a.asname or a.name)
        ]
        return node if node.names else None

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and self._own(str(name.value), ""):
                name.value = ""
        return self.generic_visit(node)

    def _own(self, dotted: str, here: str) -> bool:
        """Whether a name is of this program, where it is kept as an import."""
        self.packages |= {dotted.split(".")[0]} & PACKAGES.keys()
        module = self._program.module(dotted)
        if module is not None:
            self.imports.append((module, dotted[len(module) + 1 :], here))
        return module is not None


def _room(module: str) -> str:
    package, *rest = module.split(".")
    return package if package != "dgtl" else rest[0] if rest else ""


def _targets(settings: Any) -> Iterator[str]:
    """Every ``_target_`` in settings."""
    if isinstance(settings, dict):
        if "_target_" in settings:
            yield str(settings["_target_"])
        for value in settings.values():
            yield from _targets(value)


def _placeless(settings: Any) -> Any:
    """Settings with classes by their bare names, and without other words to Hydra."""
    if isinstance(settings, dict):
        kept = {k: _placeless(v) for k, v in settings.items() if not str(k).startswith("_")}
        name = str(settings.get("_target_", "")).rpartition(".")[2]
        return {**kept, "_target_": name} if name else kept
    return [_placeless(value) for value in settings] if isinstance(settings, list) else settings


@functools.cache
def _version(distribution: str) -> str:
    try:
        return ".".join(importlib.metadata.version(distribution).split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
