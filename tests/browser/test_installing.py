"""What the tests in a browser need is installed by one script, which never stands in the way of the others."""

import os
import shutil
import subprocess
import sys

import pytest

from gfe_companion.runs.profiles import ROOT

NEEDED = ("bash", "dirname", "env")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A copy of the script and of what it calls, beside a link to this environment."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(ROOT / "gfe_companion" / "cli", root / "gfe_companion" / "cli")
    (root / "gfe_companion" / "__init__.py").touch()
    (root / ".ci").mkdir()
    for name in (".ci/browser", "pyproject.toml", "requirements.lock", "environment.yml"):
        shutil.copy(ROOT / name, root / name)
    (root / ".venv").symlink_to(sys.prefix)
    return root


@pytest.fixture
def call(root, tmp_path):
    """Calls the script where there is no browser, and pip and apt-get do as they are told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in NEEDED:
        (programs / name).symlink_to(shutil.which(name))
    (programs / "python3").symlink_to(sys.executable)

    def call_(apt_get):
        (programs / "apt-get").write_text(f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/asked\n{apt_get}\n')
        (programs / "apt-get").chmod(0o755)
        environ = {"PATH": str(programs), "PIP_INDEX_URL": "http://localhost:9", "PIP_RETRIES": "0", "HOME": os.devnull}
        done = subprocess.run([root / ".ci" / "browser"], env=environ, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr.splitlines(), tmp_path / "asked"

    return call_


def test_what_cannot_be_installed_is_said_in_a_sentence_and_stops_nothing(call):
    code, said, _ = call("exit 100")
    assert code == 0 and len(said) == 2
    assert "could not install chromium nodejs by apt-get" in said[0]
    assert "playwright" in said[1] and "by pip" in said[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone may install packages")
def test_what_is_missing_is_asked_of_apt_get(call):
    code, said, asked = call("exit 0")
    assert code == 0 and len(said) == 1
    assert asked.read_text().splitlines()[-1].endswith("chromium nodejs")
