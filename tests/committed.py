"""The report of what is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import report

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def report_in(home: Path) -> Path:
    """The folder of a report of the notebooks and figures as they are committed, made below ``home``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFE_HOME", str(home))
        patch.setattr("gfe_companion.site.front.everything_of", lambda *_: [])
        setting = Setting.of("paper", "embedded", device="cpu")
        build = home / "build" / setting.profile.name
        build.mkdir(parents=True)
        for path in NOTEBOOKS:
            (build / path.name).write_bytes(path.read_bytes())
        shutil.copytree(ROOT / "figures" / "paper", setting.figures)
        return report.build(setting).parent
