"""On the pages: a question, a stub that is left quiet, and a folded solution that is right, for every exercise."""

import ast
import math
import re
import tomllib

import nbformat
import pytest

from gfe_companion import lessons
from gfe_companion.lessons.exercise import finding
from gfe_companion.lessons.exercises import EXERCISES
from gfe_companion.runs.profiles import ROOT
from gfe_core.fixed_grid import FixedGrid

PAGES = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
QUESTIONS = tomllib.loads((ROOT / "tests" / "lessons" / "questions.toml").read_text(encoding="utf-8"))["question"]
CHECKED = re.compile(r'\bcheck\("([\w.]+)", (\w+)\)')
every_exercise = pytest.mark.parametrize("name", sorted(EXERCISES))


def cells(number):
    return nbformat.read(PAGES[number], as_version=4).cells


def place(name):
    """The cells of the notebook of an exercise, and the number of the one that checks it."""
    found = cells(name[:2])
    (number,) = [n for n, cell in enumerate(found) if cell.cell_type == "code" and f'check("{name}"' in cell.source]
    return found, number


def judged(name, source):
    """What is found of the answer that the cell of ``source`` leaves; it may use nothing but what it imports."""
    space = {"check": lambda *given: None, "hint": lambda *given: None}
    exec(source, space)
    found, number = place(name)
    ((_, variable),) = CHECKED.findall(found[number].source)
    return finding(EXERCISES[name], space[variable])


@every_exercise
def test_a_question_stands_above_and_the_untouched_stub_is_quiet(name):
    found, number = place(name)
    assert found[number - 1].cell_type == "markdown"
    assert found[number - 1].source.startswith("### ")
    assert judged(name, found[number].source).right is None


@every_exercise
def test_the_folded_solution_below_is_right(name):
    found, number = place(name)
    below = found[number + 1].source
    assert below.startswith("<details><summary>Solution</summary>") and below.rstrip().endswith("</details>")
    (source,) = re.findall(r"```python\n(.*?)```", below, re.DOTALL)
    assert judged(name, source).right is True


def test_pages_check_the_exercises_that_there_are_and_offer_hints():
    checked = {number: CHECKED.findall("\n".join(cell.source for cell in cells(number))) for number in PAGES}
    named = [name for found in checked.values() for name, _ in found]
    assert sorted(named) == sorted(EXERCISES)
    for number, found in checked.items():
        assert not found or len(found) in (2, 3), "two or three exercises a page"
        assert all(name[:2] == number for name, _ in found)
        imports = [node for cell in cells(number) if found for node in ast.walk(_parsed(cell))]
        names = {alias.name for node in imports if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert not found or {"check", "hint"} <= names
    assert callable(lessons.check) and callable(lessons.hint)


HEAD = re.compile(r"(from|import) |setting = |page = |page\.begin")
SHOWN = re.compile(
    r"(?!def ).*(\b(page|study|lesson|amd(_\w+)?|schematic|borrowed|[a-z]+_on_\w+|adjoint_\w+)\.|check\()"
)


@pytest.mark.parametrize("number", ["01", "02", "03", "04", "08"])
def test_half_of_the_code_that_is_seen_is_the_method(number):
    """All but imports, parameters and the page's head, and lines that call for what a study makes, or for a check."""
    code = [cell for cell in cells(number) if _is_code(cell) and not _is_folded(cell)]
    seen = [(line, cell.metadata.get("tags")) for cell in code for line in cell.source.splitlines() if line.strip()]
    method = [line for line, tags in seen if not (tags or HEAD.match(line) or SHOWN.match(line))]
    assert len(method) >= len(seen) / 2, f"{len(method)} of {len(seen)} lines"


@pytest.mark.parametrize("number", sorted(PAGES))
def test_no_method_is_folded(number):
    for cell in filter(_is_folded, cells(number)):
        lines = cell.source.splitlines()
        imports = all(line.startswith(("from ", "import ")) for line in lines)
        evidence = "page." in lines[-1] and all(re.match(r"page\.|[\w, ]+ = [\w.]+\(", line) for line in lines)
        assert imports or evidence, cell.source


def _rows(text, heading):
    """The rows of the table under a heading of page 00, as lists of their cells."""
    (table,) = [part for part in text.split("\n## ") if part.startswith(heading)]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return rows[2:]


def test_each_symbol_stands_on_the_page_that_explains_it():
    text = "\n".join(cell.source for cell in cells("00") if cell.cell_type == "markdown")
    rows = _rows(f"\n{text}", "Symbols")
    assert len(rows) > 15
    for symbols, _, pages in rows:
        for symbol in re.findall(r"\$(.+?)\$", symbols):
            head = re.match(r"\\?[A-Za-z]+(_(\{\w+\}|\\?\w+))?", symbol)[0]
            for page in pages.split(", "):
                said = "\n".join(cell.source for cell in cells(page) if cell.cell_type == "markdown")
                found = re.search(rf"(?<![A-Za-z]){re.escape(head)}(?![A-Za-z])", said)
                assert found, f"{head} is not on page {page}"


GREEK = re.compile(
    r"\\([Aa]lpha|[Bb]eta|[Gg]amma|[Dd]elta|epsilon|zeta|eta|[Tt]heta|kappa|[Ll]ambda|mu|nu|xi|[Pp]i|rho|[Ss]igma|tau|"
    r"[Pp]hi|[Pp]si|[Oo]mega)(?![a-z])"
)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
NO_SYMBOLS = set("deT") | set("bijkn")  # of derivatives, the exponential's base, a transpose; and what only counts


def _letters(formula):
    """The letters of a formula, Greek ones by name, without words and the names of subscripts such as {max}."""
    bare = re.sub(r"\\(text|mathrm|begin|end)\{[^}]*\}|_\{[a-z]{2,}\}", "", formula)
    return set(GREEK.findall(bare)) | set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", bare)))


@pytest.mark.parametrize("number", sorted(PAGES))
def test_every_symbol_of_a_page_stands_in_the_table(number):
    """So a letter has one row, and one meaning on all pages."""
    text = "\n".join(cell.source for cell in cells("00") if cell.cell_type == "markdown")
    known = {letter for row in _rows(f"\n{text}", "Symbols") for letter in _letters(row[0])}
    told = [cell.source for cell in cells(number) if cell.cell_type == "markdown"]
    prose = [re.sub(r"```.*?```|`[^`]*`", "", source, flags=re.DOTALL) for source in told]
    used = {letter for said in prose for found in FORMULA.findall(said) for letter in _letters("".join(found))}
    assert used <= known | NO_SYMBOLS, f"{sorted(used - known - NO_SYMBOLS)} on page {number}"


def test_no_symbol_and_no_word_is_explained_twice():
    text = "\n".join(cell.source for cell in cells("00") if cell.cell_type == "markdown")
    for heading in ("Symbols", "Words"):
        named = [name for row in _rows(f"\n{text}", heading) for name in row[0].split(", ")]
        assert len(named) == len(set(named)) > 10


def _is_folded(cell):
    """Its bar is seen, and its code after a click on that."""
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def _is_code(cell):
    """Whether it is Python that the page wrote; the cell that installs, the same on every page, has a magic in it."""
    return cell.cell_type == "code" and "install" not in cell.metadata.get("tags", ())


def _parsed(cell):
    return ast.parse(cell.source if _is_code(cell) else "")


@pytest.mark.parametrize("number", sorted(PAGES))
def test_beside_each_table_stands_what_to_look_at(number):
    """In words of the page just before or after it, or in what its study says of it."""
    found = cells(number)
    for place, cell in enumerate(found):
        if _is_code(cell) and re.search(r"\.table\w*\(", cell.source) and not re.search(r"\.say_\w+\(", cell.source):
            beside = " ".join(each.source for each in found[place - 1 : place + 2] if each.cell_type == "markdown")
            assert re.search(r"\b([Cc]ompare|[Ll]ook at|[Rr]ead|Reading it)\b", beside), cell.source


@pytest.mark.parametrize("asked", QUESTIONS, ids=[f"{each['number']} on {each['page']}" for each in QUESTIONS])
def test_a_question_is_answered_where_the_table_says(asked):
    """One cell of text, or of what a page says in its study, has all words of the answer."""
    texts = [" ".join(cell.source.split()) for cell in cells(asked["page"]) if cell.cell_type == "markdown"]
    holding = [text for text in texts if all(words in text for words in asked["words"])]
    assert holding, f"no cell of page {asked['page']} has all of {asked['words']}"
    assert asked["question"].endswith("?") and asked["words"]


@pytest.mark.parametrize("name", sorted(name for name, each in EXERCISES.items() if isinstance(each.right, str)))
def test_a_question_of_choice_says_that_its_answer_is_a_string(name):
    """A letter or a word without quotes raises a NameError, of which no check can say what is wrong."""
    found, number = place(name)
    asked = found[number - 1].source
    assert f'"{EXERCISES[name].right}"' in asked or "in quotes" in asked


def test_the_grid_of_page_04_is_that_of_the_method():
    grid = FixedGrid(tau=80.0, slices=10)
    told = "\n".join(cell.source for cell in cells("04") if cell.cell_type == "markdown")
    assert "$t_i = \\tau\\,(4^{i/N} - 1)/3$" in told and "$\\alpha(t) = e^{-2t/\\tau}$" in told
    assert grid.times() == pytest.approx([80 * (4 ** (i / 10) - 1) / 3 for i in range(11)])
    assert grid.alpha(20.0, 80.0) == pytest.approx(math.exp(-2 * 20 / 80))
