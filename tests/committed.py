"""What is committed: the notebooks, their runs, and their report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import report
from gfe_companion.studies.needs import everything_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def every_run(setting: Setting) -> list[RunConfig]:
    """The runs of all notebooks, and those that they rest on, each once."""
    return everything_of([path.stem for path in NOTEBOOKS], setting)


def report_in(home: Path) -> Path:
    """The folder of the report of the notebooks and figures as they are committed, made below ``home`` if need be."""
    made = home / "report"  # a link that is there once the report is whole
    if made.exists():
        return made.resolve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFE_HOME", str(home))
        patch.setattr("gfe_companion.site.front.everything_of", lambda *_: [])
        setting = Setting.of("paper", "embedded", device="cpu")
        build = home / "build" / setting.profile.name
        build.mkdir(parents=True)
        for path in NOTEBOOKS:
            (build / path.name).write_bytes(path.read_bytes())
        shutil.copytree(ROOT / "figures" / "paper", setting.figures)
        made.symlink_to(report.build(setting).parent)
    return made.resolve()
