"""A real browser: Debian's chromium, driven by Playwright; what needs it is skipped by name where it is missing."""

import shutil
import sys

import pytest

from gfe_companion.runs.profiles import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PACKAGES = {"playwright.sync_api": "Playwright", "axe_playwright_python": "axe-core for Playwright"}
sys.path.append(str(ROOT / "build" / "browser"))  # where .ci/browser puts them


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs chromium: .ci/browser installs it")
    for module, name in PACKAGES.items():
        pytest.importorskip(module, reason=f"needs {name}: .ci/browser installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()
