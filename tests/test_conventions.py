"""What a stranger looks for in a repository: a license, how to cite it, how to contribute; and that these agree."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
README = (ROOT / "README.md").read_text()
# Of the Citation File Format 1.2.0: what must be there, what may be, and the same of a reference.
REQUIRED = {"authors", "cff-version", "message", "title"}
ALLOWED = REQUIRED | {
    "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url",
    "preferred-citation", "references", "repository", "repository-artifact", "repository-code", "type", "url",
    "version",
}  # fmt: skip
OF_REFERENCE = {"type", "title", "authors", "year", "journal", "url", "identifiers", "doi"}
OF_AUTHOR = {"name", "family-names", "given-names", "affiliation", "orcid"}


def faults_of(citation):
    """What is wrong with a citation file, a line each."""
    told = [f"{key} is missing" for key in sorted(REQUIRED - citation.keys())]
    told += [f"{key} is no key of the format" for key in sorted(citation.keys() - ALLOWED)]
    if citation.get("type") not in (None, "software", "dataset"):
        told.append("type is neither software nor dataset")
    for work in (citation, *citation.get("references", ())):
        for author in work.get("authors", ()):
            if not author or author.keys() - OF_AUTHOR:
                told.append(f"{author} is no person and no entity")
    for work in citation.get("references", ()):
        told += [f"{key} of a reference is missing" for key in ("type", "title", "authors") if key not in work]
        told += [f"{key} is no key of a reference" for key in sorted(work.keys() - OF_REFERENCE)]
        for identifier in work.get("identifiers", ()):
            if identifier.get("type") not in ("doi", "url", "swh", "other") or "value" not in identifier:
                told.append(f"{identifier} is no identifier")
    return told


def test_the_citation_is_of_its_format():
    assert CITATION["cff-version"] == "1.2.0"
    assert faults_of(CITATION) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"titel": "x"}, "titel is no key"),
        ({"type": "paper"}, "neither software"),
        ({"authors": [{"nom": "x"}]}, "no person"),
        ({"references": [{"type": "article", "title": "x"}]}, "authors of a reference is missing"),
    ],
)
def test_a_wrong_citation_is_found(change, said):
    assert said in " ".join(faults_of(CITATION | change))


def test_version_license_and_authors_are_the_same_everywhere():
    version, (author,) = PROJECT["version"], PROJECT["authors"]
    assert CITATION["version"] == version
    assert f"version = {{{version}}}" in README
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert CITATION["license"] == PROJECT["license"] == "MIT"
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n") and re.search(rf"Copyright \(c\) \d{{4}} {author['name']}\n", text)
    assert CITATION["authors"] == [{"name": author["name"]}]
    assert f"{{{{{author['name']}}}}}" in README


def test_the_paper_is_the_same_everywhere():
    (paper,) = CITATION["references"]
    assert PROJECT["urls"] == {"Paper": paper["url"]}
    assert paper["url"] in README and paper["title"] in README
    names = " and ".join(f"{each['family-names']}, {each['given-names']}" for each in paper["authors"])
    assert f"author  = {{{names}}}" in README


def test_the_hosted_workflow_calls_the_one_script():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["run"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    python = next(step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", ""))
    assert PROJECT["requires-python"] == f">={python}"


def test_binder_has_the_environment_and_the_packages():
    """All but the packages of this folder, whose place would be told from where the environment's file is."""
    whole, there = (yaml.safe_load((ROOT / folder / "environment.yml").read_text()) for folder in (".", ".binder"))
    whole["dependencies"][-1]["pip"].remove("-e .")
    assert there == whole
    built = ROOT / ".binder" / "postBuild"
    assert os.access(built, os.X_OK) and "--editable ." in built.read_text()


def test_contributing_names_three_commands_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line.split()[0] for line in block.splitlines()]
    assert len(commands) == 3
    assert not [command for command in commands if not os.access(ROOT / command, os.X_OK)]


def test_the_messages_of_troubleshooting_are_those_that_are_said():
    text = (ROOT / "TROUBLESHOOTING.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(messages) == 10
    code = "".join(path.read_text() for kind in ("py", "sh") for path in (ROOT / "gfe_companion").rglob(f"*.{kind}"))
    code = re.sub(r'"\n\s*f?"', "", code).replace("{lock.name}", "requirements.lock")
    assert [message for message in messages if message not in code] == []


def test_the_readme_is_a_front_page():
    assert len(README.splitlines()) < 150
    for said in ("## What was found", "## Two commands", "## Routes", "## What it needs", "WSL", "memory", "disk"):
        assert said in README


def test_the_screens_of_the_readme_are_there_and_small():
    """They are taken by the tests in a browser."""
    screens = {path.name: path.stat().st_size for path in (ROOT / "figures" / "screens").iterdir()}
    assert set(screens) == set(re.findall(r"figures/screens/([\w.]+)\)", README))
    assert max(screens.values()) <= 300_000
