"""What the README says of the use of solvers: its code runs, its names exist, its links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch

import gfe_core
from gfe_core import Status

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SECTION = README.split("## Which solver for what?")[1].split("\n## ")[0]


def test_its_code_runs():
    (block,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    torch.manual_seed(0)
    found: dict = {}
    exec(block, found)
    encoding, images = found["encoding"], found["images"]
    assert encoding.z.shape == found["z"].shape == (len(images), 32)
    with torch.no_grad():
        trained = found["mse"](found["decoder"](found["z"]), images)
    assert trained.mean() < encoding.loss.mean(), "training has not helped"
    assert {Status(int(status)) for status in encoding.status} <= {Status.CONVERGED, Status.STALLED}


def test_every_solver_is_in_its_table():
    table = SECTION.split("| solver |")[1].split("\n\n")[0]
    solvers = {name for name in gfe_core.__all__ if hasattr(getattr(gfe_core, name), "encode")}
    assert set(re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if row))) == solvers


def test_the_settings_that_it_names_exist():
    lower = gfe_core.LBFGSAMD(lower=-1.0, upper=1.0)
    assert (lower.lower, lower.upper) == (-1.0, 1.0)
    decoder = torch.nn.Linear(2, 4)
    gfe_core.encoding_step(decoder, gfe_core.WarmStart(), gfe_core.ApproximateGradient(), train_mode=True)
    shaped = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(6, 4))
    objective = gfe_core.Objective(shaped, torch.rand(2, 4), latent_shape=(2, 3))
    assert gfe_core.LBFGSAMD(max_trials=2).encode(objective).z.shape == (2, 2, 3)


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", ".github/**/*.md", "figures/README.md", "tests/*.md", "cluster/*.md", "gfe_core/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    """To a file that is there, and to a heading that it has."""
    text = (ROOT / page).read_text()
    for link in set(re.findall(r"\]\(([^)]+)\)", text)):
        place, _, heading = link.partition("#")
        if place.startswith("https://"):
            continue
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page} links to {link}"
