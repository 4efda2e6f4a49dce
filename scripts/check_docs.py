"""Checks every command, link and path of the documents, so that none of them goes stale.

    python scripts/check_docs.py
    python scripts/check_docs.py --fast         # starts no process: seconds

Commands are the lines of code blocks that start with python, dgtl, make, git, pip or wandb. A line
with ``run.py`` is composed by Hydra with its settings, every choice of a sweep once; nothing is
run, but a wrong name of a setting, model or preset is an error. Another script or module parses its
arguments and stops there (``--fast``: its file is there and knows the options). What writes nothing
but documents is run in a temporary copy. Links and paths of the repository must lead somewhere.

Prints one line for each command and each broken link; exit code 1 if any of them fails.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
STARTS = ("python ", "dgtl ", "make", "git ", "pip ", "wandb ")
PLACEHOLDERS = {"model=NAME": "model=random", "model=NAME,dgp": "model=random,dgp"}
RUNS = ("experiments.readme", "experiments.results_page")
"""Modules without arguments, which are run in a copy of the repository."""

LIMIT_S = 60.0
"""A command that is checked in a process takes seconds."""

PARSE_ONLY = """
import argparse, runpy, sys
def stopping(parse):
    def parse_and_stop(*args, **kwargs):
        parse(*args, **kwargs)
        sys.exit(0)
    return parse_and_stop
for way in ("parse_args", "parse_intermixed_args"):
    setattr(argparse.ArgumentParser, way, stopping(getattr(argparse.ArgumentParser, way)))
kind, name, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, ".")
if kind == "module":
    runpy.run_module(name, run_name="__main__", alter_sys=True)
else:
    sys.argv[0] = name
    sys.path.insert(0, name.rpartition("/")[0])
    runpy.run_path(name, run_name="__main__")
"""


def documents(root: Path = ROOT) -> list[Path]:
    """The pages that are checked."""
    top = [root / name for name in ("README.md", "CONTRIBUTING.md", "GLOSSARY.md")]
    return [*top, *sorted((root / "docs").rglob("*.md"))]


def commands(text: str) -> list[str]:
    """Commands of the code blocks of a page, each once, without comments."""
    found: list[str] = []
    fenced, indented, blank, pending = False, False, True, ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            continue
        indented = line.startswith("    ") and (indented or blank)
        blank = not line.strip()
        if not (fenced or indented):
            pending = ""
            continue
        command = (pending + " " + line.strip()).strip()
        if not command.startswith(STARTS):
            continue
        if command.endswith("\\"):
            pending = command[:-1].rstrip()
            continue
        pending = ""
        command = shlex.join(shlex.split(command, comments=True))
        if command not in found:
            found.append(command)
    return found


def jobs(overrides: list[str]) -> list[list[str]]:
    """Overrides of a sweep as single runs: the first choice of each, then every other choice."""
    options = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            values = list(override.sweep_string_iterator())
            options.append([f"{override.key_or_group}={value}" for value in values])
        else:
            options.append([override.input_line or ""])
    first = [choices[0] for choices in options]
    return [first] + [
        [*first[:i], choice, *first[i + 1 :]]
        for i, choices in enumerate(options)
        for choice in choices[1:]
    ]


def composed(arguments: list[str]) -> str:
    """What is wrong with the settings of a run; empty if nothing is."""
    overrides = [PLACEHOLDERS.get(a, a) for a in arguments if "=" in a]
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            for settings in jobs(overrides):
                OmegaConf.to_container(compose("config", settings), resolve=True)
    except Exception as error:  # whatever Hydra says is what the user would see
        return str(error).strip().splitlines()[0]
    return ""


def _source(words: list[str]) -> tuple[str, str, list[Path], list[str]]:
    """Kind and name of what ``python`` starts, its files, its arguments."""
    if words[1] == "-m":
        package = ROOT.joinpath(*words[2].split("."))
        files = sorted(package.glob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
        return "module", words[2], files, words[3:]
    return "script", words[1], [ROOT / words[1]], words[2:]


def python(words: list[str], *, fast: bool) -> str:
    """What is wrong with a command that starts with ``python``."""
    kind, name, files, arguments = _source(words)
    if not files or not all(file.exists() for file in files):
        return f"no {kind} {name}"
    if name == "run.py":
        return composed(arguments)
    settings = [a for a in arguments if "=" in a and not a.startswith("-")]
    if "--replay" in arguments:
        settings = ["hardware=replay", "workload=tables", *settings]
    wrong = composed(settings) if name == "experiments.table1" and settings else ""
    if wrong:
        return wrong
    if fast:
        text = "".join(file.read_text() for file in files)
        unknown = [
            a for a in arguments if a.startswith("--") and f'"{a.split("=")[0]}"' not in text
        ]
        return f"{name} has no {unknown[0]}" if unknown else ""
    if name in RUNS:
        return _run_in_copy(["-m", name])
    return _failure([sys.executable, "-c", PARSE_ONLY, kind, name, *arguments], ROOT)


def _run_in_copy(arguments: list[str]) -> str:
    ignored = shutil.ignore_patterns(".*", "outputs", "build", "wandb", "__pycache__")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=ignored)
        return _failure([sys.executable, *arguments], copy)


def _failure(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"not done after {LIMIT_S} s"
    lines = (done.stderr or done.stdout).strip().splitlines() or ["failed without a word"]
    return lines[-1] if done.returncode else ""


def check(command: str, *, fast: bool) -> str:
    """What is wrong with a command; empty if nothing is."""
    words = shlex.split(command)
    if words[0] == "python":
        return python(words, fast=fast)
    if words[0] == "dgtl":
        return python(["python", "-m", "dgtl.front.cli", *words[1:]], fast=fast)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        known = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        unknown = [target for target in targets if target not in known]
        return f"no target {unknown[0]}" if unknown else ""
    missing = [word for word in words if word.endswith(".yaml") and not (ROOT / word).exists()]
    return f"no file {missing[0]}" if missing else ""


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Relative links of a page, and paths that it mentions, which lead nowhere."""
    text = page.read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        if not target.exists():
            wrong.append(f"link {link}")
        elif anchor and anchor not in anchors(target.read_text()):
            wrong.append(f"link {link}: no such heading")
    rooms = "dgtl|baselines|conf|experiments|scripts|tests|docs|results"
    for path in re.findall(rf"`((?:{rooms})/[^`\s*{{]*)`", prose):
        if not re.search(r"[A-Z]{3,}|NNNN|\.\.\.", path) and not (ROOT / path).exists():
            wrong.append(f"path {path}")
    return wrong


def problems(*, fast: bool, out: bool = True) -> list[str]:
    """One line for everything that is wrong, in any page."""
    wrong, known = [], {}
    for page in documents():
        name = page.relative_to(ROOT).as_posix()
        lines = [(False, text) for text in broken(page)]
        for command in commands(page.read_text()):
            if command not in known:
                known[command] = check(command, fast=fast)
            error = known[command]
            lines.append((not error, f"{command}{f': {error}' if error else ''}"))
        for good, text in lines:
            if not good:
                wrong.append(f"{name}: {text}")
            if out:
                print("ok    " if good else "WRONG ", f"{name}: {text}", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="start no process")
    wrong = problems(fast=parser.parse_args().fast)
    print(f"{len(wrong)} wrong" if wrong else "all well")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
