"""The plan of the house: which room may import which, what the method needs, and how large things may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from importlib.metadata import packages_distributions, requires
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# A room may import itself and what stands before it; of two that stand together, neither imports the other.
ORDER = (
    ("gfe_core",), ("datasets", "methods"), ("runs",), ("evidence",), ("studies",), ("lessons",), ("site",), ("cli",),
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


class Import(NamedTuple):
    """One module that another imports, and whether it does as soon as it is imported itself."""

    line: int
    module: str
    at_once: bool


def files() -> list[Path]:
    return sorted(path for package in ("gfe_core", "gfe_companion") for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def path_of(name: str) -> Path:
    place = ROOT.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def is_module(name: str) -> bool:
    return path_of(name).exists()


def imports(source: str, module: str) -> list[Import]:
    """Everything that ``module`` imports, in functions and behind TYPE_CHECKING too; ``from x import y`` is x.y if
    there is such a module, else x."""
    found: list[Import] = []

    def visit(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(node.lineno, alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports from a place relative to itself"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append(Import(node.lineno, whole if is_module(whole) else node.module, at_once))
        within = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, at_once and not within and not typing)

    visit(ast.parse(source), at_once=True)
    return found


def room_of(module: str) -> str | None:
    """The room in which a module stands; None for one of another project, or for the bare package."""
    first, *rest = module.split(".")
    if first == "gfe_core":
        return "gfe_core"
    if first != "gfe_companion" or not rest:
        return None
    return "cli" if rest[0] == "__main__" else rest[0]


def faults(source: str, module: str) -> list[str]:
    """What ``module`` imports against the order of the rooms, a line each."""
    here, told = room_of(module), []
    for line, imported, _ in imports(source, module):
        there = room_of(imported)
        if imported == "gfe_core" != module:
            told.append(f"{module}:{line} imports from the package gfe_core itself; name the module")
        elif there is None or there == here or here is None:
            continue
        elif there not in LEVEL:
            told.append(f"{module}:{line} imports {imported}, which is in no room")
        elif LEVEL[there] >= LEVEL[here]:
            told.append(f"{module}:{line} ({here}) imports {imported} ({there})")
    return told


PATHS = files()
every_file = pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(ROOT)) for path in PATHS])


@every_file
def test_imports_point_one_way(path):
    assert room_of(name_of(path)) in (*LEVEL, None), f"{path} is in no room"
    assert faults(path.read_text(), name_of(path)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gfe_core.amd", "from gfe_companion.methods import METHODS"),
        ("gfe_core.amd", "def late():\n    import gfe_companion.runs.store"),
        ("gfe_core.amd", "from gfe_core import Objective"),
        ("gfe_companion.methods", "from gfe_companion.datasets import load"),
        ("gfe_companion.datasets.mnist", "if TYPE_CHECKING:\n    from gfe_companion.methods import Look"),
        ("gfe_companion.runs.store", "from gfe_companion.studies import plans"),
        ("gfe_companion.evidence.paper", "from gfe_companion.site.show import Page"),
        ("gfe_companion.site.show", "from gfe_companion import __main__"),
        ("gfe_companion.cli.bench", "import gfe_core"),
    ],
)
def test_the_order_is_watched(module, source):
    assert len(faults(source, module)) == 1


def test_what_is_allowed_is_not_told():
    source = "import torch\nfrom gfe_core.amd import AMD\nfrom gfe_companion.methods import METHODS\n"
    assert faults(source, "gfe_companion.studies.plans") == []
    assert faults("from gfe_companion.cli.bench import table", "gfe_companion.__main__") == []
    assert faults("from gfe_core.amd import AMD", "gfe_core") == []


def reached(start: str) -> list[str]:
    """The modules of this project that are imported as soon as ``start`` is, by imports of imports, and itself."""
    waiting, found = [start], []
    while waiting:
        if (module := waiting.pop()) not in found:
            found.append(module)
            named = imports(path_of(module).read_text(), module)
            waiting += [name for _, name, at_once in named if at_once and room_of(name)]
    return sorted(found)


BEFORE_THE_ENVIRONMENT = reached("gfe_companion.__main__")


@pytest.mark.parametrize("module", BEFORE_THE_ENVIRONMENT)
def test_what_runs_before_the_environment_needs_the_standard_library_alone(module):
    path = path_of(module)
    for line, name, at_once in imports(path.read_text(), module):
        if at_once and name not in BEFORE_THE_ENVIRONMENT:
            known = name.split(".")[0] in (*sys.stdlib_module_names, "gfe_companion")
            assert known, f"{path.name}:{line} imports {name} before there is an environment"


def test_all_that_parses_arguments_runs_before_the_environment():
    assert {"gfe_companion.cli.arguments", "gfe_companion.cli.said"} < set(BEFORE_THE_ENVIRONMENT)


def test_it_starts_without_anything_installed():
    """In an interpreter without site-packages: what is wrong with the arguments is found there."""
    command = [sys.executable, "-I", "-S", "-c", f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        sys.argv = ["gfe_companion", "--help"]
        import runpy
        runpy.run_module("gfe_companion", run_name="__main__")"""]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "usage: python -m gfe_companion" in done.stdout, done.stderr


# --- the method alone


HIDING = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.path.insert(0, ROOT)
sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""

METHOD = """
from gfe_core import (
    AMD, AdjointGradient, ApproximateGradient, AutoEncoder, BarzilaiBorweinAMD, Decoder, Encoder, Encoding, FixedGrid,
    GaussNewtonBFGS, LevenbergMarquardt, Nesterov, NesterovAMD, Objective, QuasiNewtonAMD, Status, Training, WarmStart,
    bce, encode_all,
)
import torch

generator = torch.Generator().manual_seed(0)
decoder, images = Decoder(generator=generator), torch.rand(4, 784, generator=generator)
for solver in (AMD(tau=100.0), FixedGrid(10.0, 4), QuasiNewtonAMD(max_trials=3), GaussNewtonBFGS(max_trials=2)):
    encoding = solver.encode(Objective(decoder, images), record=True)
    assert isinstance(encoding, Encoding) and encoding.loss.isfinite().all()
    ApproximateGradient()(Objective(decoder, images), encoding)
ours = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names
assert "gfe_companion" not in ours and "numpy" not in ours, ours
print("encoded", sorted({Status(int(status)).name for status in encoding.status}))
"""


def of_others() -> set[str]:
    """All modules that are installed but torch's and those of what its distribution requires; NumPy is among them."""
    asked = ["torch"]
    for distribution in asked:  # grows on the way
        for line in requires(distribution) or []:
            needed = Requirement(line)
            name = canonicalize_name(needed.name)
            if name not in asked and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
                asked.append(name)
    owners = packages_distributions().items()
    return {module for module, owned in owners if not {canonicalize_name(owner) for owner in owned} & set(asked)}


def alone(program: str) -> subprocess.CompletedProcess[str]:
    """``program`` in a fresh interpreter that has gfe_core, and cannot find other libraries than torch."""
    head = f"ROOT, HIDDEN = {str(ROOT)!r}, {sorted(of_others() | {'gfe_companion'})!r}"
    command = [sys.executable, "-I", "-c", f"{head}\n{HIDING}\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_method_needs_torch_alone():
    """Not even NumPy, which torch takes if it is there and does without."""
    done = alone(METHOD)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("encoded")


@pytest.mark.parametrize("hidden", ["numpy", "torchvision", "gfe_companion"])
def test_another_library_would_not_be_found(hidden):
    assert f"ModuleNotFoundError: No module named '{hidden}'" in alone(f"import torch\nimport {hidden}").stderr


# --- where the paper's equations are


def equations_of(source: str) -> set[int]:
    """The equations that comments name in lines of code, as ``# Eq. (9)``."""
    comments = (
        token for token in tokenize.generate_tokens(StringIO(source).readline) if token.type == tokenize.COMMENT
    )
    beside = [token.string for token in comments if token.line[: token.start[1]].strip()]
    return {int(number) for comment in beside for number in re.findall(r"Eq\. \((\d+)\)", comment)}


def test_every_equation_of_the_paper_is_named_in_the_line_that_computes_it():
    named = [equations_of(path.read_text()) for path in PATHS if path.parent.name == "gfe_core"]
    assert set().union(*named) == set(range(1, 11))


def test_docstrings_and_lines_of_comments_name_no_line():
    assert equations_of('"""Eq. (7)"""\n# Eq. (8)\nx = y  # by Eq. (9), of Eq. (5)\n') == {9, 5}


# --- how large


@every_file
def test_no_file_is_longer_than_250_lines(path):
    assert len(path.read_text().splitlines()) <= 250


def test_the_method_stays_small():
    lines = sum(len(path.read_text().splitlines()) for path in (ROOT / "gfe_core").rglob("*.py"))
    assert lines <= 4000, f"gfe_core has {lines} lines"
