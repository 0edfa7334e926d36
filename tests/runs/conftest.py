"""What tests of runs share: packages that can be edited, and a record of what was executed."""

from __future__ import annotations

import shutil

import pytest

from gfe_companion.runs import code
from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.profiles import ROOT


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """A copy of both packages that keys are made of, and a function that edits a file of it."""
    for package in code.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def edit(path, old, new):
        text = (tmp_path / path).read_text()
        assert old in text
        (tmp_path / path).write_text(text.replace(old, new, 1))

    def add(path, text):
        with (tmp_path / path).open("a") as file:
            file.write(f"\n\n{text}\n")

    edit.root, edit.add = tmp_path, add
    return edit


@pytest.fixture
def executed(monkeypatch):
    """The configurations that have been executed."""
    seen = []
    for kind in (Train, Evaluate):
        execute = kind.execute
        monkeypatch.setattr(kind, "execute", lambda c, *rest, execute=execute: seen.append(c) or execute(c, *rest))
    return seen
