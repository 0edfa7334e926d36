"""What each published figure, table and notebook rests on, by digest; and what of it the code on disk would not make.

``figures/paper/manifest.json`` is written as results are published. A notebook rests on the code of its cells, on what
these import, on the committed files that it reads, and on all that its runs rest on; a figure or table on its
notebook's runs, and on the modules that draw it, with the files that these name. The text between the cells is
published as it is written. The check reads no run and imports neither torch nor NumPy.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gfe_companion.runs.code import ROOT, Code, now

if TYPE_CHECKING:
    from gfe_companion.runs.profiles import Setting

NAME = "manifest.json"
NAMED = 3  # of what is out of date or to be done, of which the rest is counted
PUBLISHED = ROOT / "figures" / "paper"
DRAWING = ("gfe_companion.studies.", "gfe_companion.evidence.")  # what is followed from where a figure is made
METHOD = "gfe_core."
# what is imported where no run is read
NO_RUNS = tuple(f"gfe_companion.runs.{name}" for name in ("profiles", "progress", "sizes"))


def drawn_by(name: str, code: Code) -> dict[str, str]:
    """The digests of the modules that make the figure or table ``name``.

    These are the studies that say its name, and what these import of studies, evidence and the method. What makes and
    keeps runs is not followed: runs count by themselves.
    """
    drawing = [each for each in code.modules if each.startswith(DRAWING)]
    return _followed(_saying(name, drawing, code), code)


def _saying(name: str, modules: Iterable[str], code: Code) -> list[str]:
    """Those of ``modules`` that have ``name`` as a string."""
    said = re.compile(rf"""["']{re.escape(name)}["']""".encode())
    return [each for each in modules if said.search(code.files[code.modules[each]])]


def imported_by(notebook: Path, code: Code) -> dict[str, str]:
    """The digests of what the cells of ``notebook`` import of studies, evidence and the method, and of what these do.

    Where a cell prints source, the text of what the cells import counts, comments included.
    """
    source = "\n".join(_code_of(notebook))
    tree = ast.parse(re.sub(r"(?m)^([ \t]*)[%!].*$", r"\1pass", source))  # a magic is not Python
    named = [
        (node.module or "", each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    ]
    direct = [each for each in code.resolve(named) if each.startswith((*DRAWING, METHOD))]
    found = _followed(direct, code)
    if "getsource(" in source:
        found |= {each: code.digest_of(each, text=True) for each in direct}
    return dict(sorted(found.items()))


def _followed(modules: list[str], code: Code) -> dict[str, str]:
    """The digests of ``modules`` and of what they import of studies, evidence and the method."""
    waiting, found = list(modules), set()
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        if module.endswith("plans"):  # it says which runs there are: these count by what they rest on
            continue
        imported = code.resolve(code.parsed(module).imports)
        waiting += [each for each in imported if each.startswith((*DRAWING, METHOD))]
    return {module: code.digest_of(module) for module in sorted(found)}


def reads_runs(modules: Iterable[str], code: Code) -> bool:
    """Whether ``modules``, which make a figure, import anything of the runs but what their sizes are."""
    imported = {each for module in modules for each in code.resolve(code.parsed(module).imports)}
    return any(each.startswith("gfe_companion.runs.") and each not in NO_RUNS for each in imported)


def runs_rest_on(notebook: str, setting: Setting, code: Code) -> dict[str, str]:
    """The digests of the modules that the runs of ``notebook`` rest on."""
    from gfe_companion.studies.needs import needs_of, with_dependencies

    found: dict[str, str] = {}
    for config in with_dependencies(needs_of(notebook, setting)):
        found |= code.rests_on(config)
    return {name: digest for name, digest in sorted(found.items()) if name in code.modules}


def entry_of(notebook: Path, setting: Setting, code: Code) -> dict:
    """What is written of one notebook: its cells, what its runs rest on and were made with, and its figures."""
    from gfe_companion.studies.needs import study_of

    names, read = announced(notebook), getattr(study_of(notebook.stem), "READS", ())
    return {
        "cells": _cells(notebook),
        "imports": imported_by(notebook, code),
        "reads": {str(path.relative_to(ROOT)): _sum_of(path) for path in read},
        "seeds": list(setting.seeds),
        "runs_rest_on": runs_rest_on(notebook.stem, setting, code),
        "made_with": _made_with(notebook.stem, setting),
        "figures": {name: drawn_by(name, code) for name in names},
    }


def write(notebooks: Iterable[Path], setting: Setting, folder: Path) -> None:
    """Write what the published ``notebooks`` and their files in ``folder`` rest on; what is said of others stays."""
    entries, code = read(folder), now()
    for path in notebooks:
        entry = entry_of(path, setting, code)
        files = sorted(each for name in entry["figures"] for each in folder.glob(f"{name}.*"))
        entry["files"] = {each.name: _sum(each.read_bytes()) for each in files}
        entries[path.stem] = entry
    part = folder / f".{NAME}.part"
    part.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", encoding="utf-8")
    part.replace(folder / NAME)


def read(folder: Path = PUBLISHED) -> dict[str, dict]:
    """What was written as results were published, by notebook; nothing where none were since there is a manifest."""
    try:
        return json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def check(entries: dict[str, dict], notebooks: list[Path], folder: Path, code: Code) -> dict[str, str]:
    """What is published and is not what the present ``code`` would make, by name: why, in words."""
    stale: dict[str, str] = {}
    for path in notebooks:
        names, entry = announced(path), entries.get(path.stem)
        if entry is None:
            stale |= dict.fromkeys([path.stem, *names], "it was published before there was a manifest")
            continue
        runs, read = _changed(entry["runs_rest_on"], code), _others(entry.get("reads", {}), ROOT)
        files, pages = entry.get("files", {}).items(), ["its cells"] * (_cells(path) != entry["cells"])
        pages += _changed(entry["imports"], code) + runs + read
        for name in dict.fromkeys([*names, *entry["figures"]]):
            rests = entry["figures"].get(name, {})
            present = rests.keys() & code.modules.keys()
            if name not in entry["figures"]:
                stale[name] = "it is new"
            elif name not in names:
                stale[name] = "no notebook writes it any more"
            elif (
                why := _changed(rests, code)
                + _others({file: each for file, each in files if file.partition(".")[0] == name}, folder)
                + [each for each in read if _saying(Path(each).name, present, code)]
                + (runs if reads_runs(present, code) else [])
            ):
                stale[name] = f"changed: {few_of(why)}"
                pages += [name]
        if pages:
            stale[path.stem] = f"changed: {few_of(pages)}"
    for name in sorted({each.name.partition(".")[0] for each in folder.glob("[!.]*") if each.name != NAME}):
        if not any(name in announced(path) for path in notebooks):
            stale.setdefault(name, "no notebook writes it any more")
    figures = sorted(stale.keys() - {path.stem for path in notebooks})
    for path in notebooks if figures else ():
        if _reads_figures(path):
            for name in (path.stem, *announced(path)):
                stale.setdefault(name, f"it reads what changed: {few_of(figures)}")
    return stale


def report() -> tuple[str, bool]:
    """What ``./run_all.sh --check-published`` says, and whether all is current."""
    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    stale = check(read(), notebooks, PUBLISHED, now())
    count = sum(1 + len(announced(path)) for path in notebooks)
    if not stale:
        return f"all {count} published notebooks, figures and tables are what the committed code makes", True
    lines = [f"{name}: {why}" for name, why in sorted(stale.items())]
    return "\n".join([*lines, f"out of date: {len(stale)} of {count} notebooks, figures and tables"]), False


def announced(notebook: Path) -> list[str]:
    """The figures and tables that the first cell of ``notebook`` says that it writes."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    line = re.search(r"Writes.*", first)
    return list(dict.fromkeys(re.findall(r"`(\w+)`", line[0]))) if line else []


def _reads_figures(notebook: Path) -> bool:
    """Whether a page is made of the numbers of all others, as its metadata say."""
    return bool(json.loads(notebook.read_text(encoding="utf-8"))["metadata"].get("gfe", {}).get("reads_figures"))


def _code_of(notebook: Path) -> list[str]:
    """The text of every code cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _cells(notebook: Path) -> str:
    return _sum(json.dumps(_code_of(notebook)).encode())


def _others(files: dict[str, str], folder: Path) -> list[str]:
    """Which of ``files``, by their paths below ``folder``, are not of the digests that are given."""
    return [name for name, digest in files.items() if _sum_of(folder / name) != digest]


def _changed(before: dict[str, str], code: Code) -> list[str]:
    def same(module: str, digest: str) -> bool:
        return module in code.modules and digest in (code.digest_of(module), code.digest_of(module, text=True))

    return [module for module, digest in before.items() if not same(module, digest)]


def _made_with(notebook: str, setting: Setting) -> dict:
    """Versions, hardware, data sums and seconds of the runs of ``notebook``, as far as these are there."""
    from gfe_companion.runs.store import finished
    from gfe_companion.studies.needs import needs_of, with_dependencies

    told = [run.provenance for run in finished(with_dependencies(needs_of(notebook, setting)))]
    return {
        "runs": len(told),
        "seconds": round(sum(each.get("duration_s", 0.0) for each in told), 1),
        "hardware": sorted({each["hardware"] for each in told}),
        "versions": [
            json.loads(each) for each in sorted({json.dumps(each["versions"], sort_keys=True) for each in told})
        ],
        "data": {each["data"]["title"]: each["data"].get("md5", {}) for each in told if each.get("data")},
    }


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _sum_of(path: Path) -> str:
    """The digest of a file; "" where there is none."""
    return _sum(path.read_bytes()) if path.exists() else ""


def few_of(names: Iterable[str]) -> str:
    """The first :data:`NAMED` of ``names``, each once, and of how many more there are."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
