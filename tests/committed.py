"""The report of what is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import report

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


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
