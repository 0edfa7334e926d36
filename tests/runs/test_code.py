"""A run's key stands for the code that it rests on: that code, all of it, and no other."""

import time

import pytest
from committed import every_run

from gfe_companion.runs import code, folders
from gfe_companion.runs.configs import Coarseness, Evaluate, Race, Stiffness, Train, TrainByAdjoint, TrainStored
from gfe_companion.runs.profiles import Setting
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid, decaying
from gfe_core.nesterov import Nesterov


def train(solver=None, dataset="mnist", kind=Train):
    return kind(dataset, True, 0, solver, (32,), (32,), 20)


KINDS = {
    "ae": train(),
    "amd": train(AMD()),
    "adjoint": train(AMD(), kind=TrainByAdjoint),
    "grid": train(FixedGrid(10.0)),
    "nesterov": train(Nesterov(10.0)),
    "stored": train(AMD(), kind=TrainStored),
    "fashion": train(dataset="fashion_mnist"),
    "test": Evaluate(train(), 32, AMD(), 10),
    "own": Evaluate(train(), 32, None, 10),
    "stiff": Stiffness(train(), 1, 10.0),
    "coarse": Coarseness(train(solver=FixedGrid(10.0, 4)), FixedGrid(10.0, 4)),
}


def keys():
    return {name: code.code_key(code.rests_on(config)) for name, config in KINDS.items()}


def changes(before):
    return {name for name, key in keys().items() if key != before[name]}


def test_comments_docstrings_and_formatting_are_no_code(copied):
    before = keys()
    path = copied.root / "gfe_core" / "amd.py"
    text = path.read_text()
    path.write_text("# a comment\n" + text.replace('"""', '"""Other words. ', 1) + "\n\n\n'a string alone'\n")
    assert keys() == before
    path.write_text(text.replace("import math", "import  math ;"))
    assert keys() == before
    path.touch()
    assert keys() == before


@pytest.mark.parametrize(
    ("path", "resting"),
    [
        ("gfe_core/amd.py", {"amd", "adjoint", "stored", "test", "stiff"}),
        ("gfe_core/descent.py", {"amd", "adjoint", "stored", "test", "stiff"}),
        ("gfe_core/nesterov.py", {"nesterov", "coarse"}),
        ("gfe_core/fixed_grid.py", {"grid", "nesterov", "coarse"}),
        ("gfe_core/objective.py", set(KINDS)),
        ("gfe_core/models.py", set(KINDS)),
        ("gfe_core/warm.py", {"stored"}),
        ("gfe_core/__init__.py", set()),
        ("gfe_companion/methods/__init__.py", set()),
        ("gfe_companion/methods/baselines.py", {"stored"}),
        ("gfe_companion/datasets/fashion_mnist.py", {"fashion"}),
        ("gfe_companion/datasets/mnist.py", set(KINDS) - {"fashion"}),
        ("gfe_companion/runs/stiffness.py", {"stiff"}),
        ("gfe_companion/runs/hessian.py", {"stiff", "coarse"}),
        ("gfe_companion/runs/coarseness.py", {"coarse"}),
        ("gfe_companion/runs/evaluate.py", {"test", "own"}),
        ("gfe_companion/runs/configs.py", set()),
        ("gfe_companion/runs/store.py", set()),
        ("gfe_companion/runs/profiles.py", set()),
        ("gfe_companion/runs/sizes.py", set()),
        ("gfe_companion/studies/plans.py", set()),
    ],
)
def test_a_changed_line_changes_exactly_the_runs_that_rest_on_it(copied, path, resting):
    before = keys()
    copied.add(path, "ADDED = 1")
    assert changes(before) == resting


def test_of_the_whole_profile_exactly_those_that_use_it_change(copied):
    """Whether a run uses AMD is read from its settings, and by no import."""
    configs = every_run(Setting.of("quick", "embedded", device="cpu"))
    before = {config: code.rests_on(config) for config in configs}
    copied.add("gfe_core/amd.py", "def added():\n    return 1")
    for config in configs:
        changed = code.changed(before[config], code.rests_on(config))
        uses = "gfe_core.amd.AMD" in str(config.describe())
        assert changed == (["gfe_core.amd"] if uses else []), config.name


def test_an_import_inside_a_function_counts_and_a_package_counts_only_where_a_name_of_it_is_taken(copied):
    (copied.root / "gfe_core" / "new.py").write_text("VALUE = 1\n")
    before = keys()
    copied(
        "gfe_core/nesterov.py", "\nclass ", "\ndef late():\n    from gfe_core import new\n    return new\n\n\n\nclass "
    )
    assert changes(before) == {"nesterov", "coarse"}
    assert "gfe_core.new" in code.rests_on(KINDS["nesterov"])
    assert "gfe_core" not in code.rests_on(KINDS["nesterov"]), "a submodule is no package"
    before = keys()
    (copied.root / "gfe_core" / "new.py").write_text("VALUE = 2\n")
    assert changes(before) == {"nesterov", "coarse"}
    copied(
        "gfe_core/nesterov.py", "from gfe_core import new\n    return new", "from gfe_core import AMD\n    return AMD"
    )
    assert {"gfe_core", "gfe_core.amd"} <= code.rests_on(KINDS["nesterov"]).keys()
    copied("gfe_core/nesterov.py", "from gfe_core import AMD\n    return AMD", "from . import new\n    return new")
    assert "gfe_core.new" in code.rests_on(KINDS["nesterov"])
    assert "gfe_core.amd" not in code.rests_on(KINDS["nesterov"])
    copied("gfe_core/nesterov.py", "from . import new", "import gfe_core.new as new")
    assert "gfe_core.new" in code.rests_on(KINDS["nesterov"])


def test_resources_count_for_the_module_that_names_them(copied):
    (copied.root / "gfe_core" / "table.toml").write_text("a = 1\n")
    copied.add("gfe_core/amd.py", 'TABLE = "table.toml"')
    before = keys()
    (copied.root / "gfe_core" / "table.toml").write_text("a = 2\n")
    assert changes(before) == {"amd", "adjoint", "stored", "test", "stiff"}
    assert code.digest_of("gfe_core.amd") == code.rests_on(KINDS["amd"])["gfe_core.amd"]


def test_what_is_shown_counts_by_its_text(copied):
    """A page that prints docstrings or source is another page when these change."""
    shows = "import inspect\nfrom gfe_core import nesterov\nprint(inspect.getsource(nesterov))\n"
    (copied.root / "gfe_core" / "shows.py").write_text(shows)
    (copied.root / "gfe_core" / "uses.py").write_text("from gfe_core import nesterov\n")
    (copied.root / "gfe_core" / "own.py").write_text('"""Words."""\nprint(__doc__)\n')
    before = [code.now().closure([f"gfe_core.{name}"]) for name in ("shows", "uses", "own")]
    copied("gfe_core/own.py", "Words", "Other words")
    copied("gfe_core/nesterov.py", '"""', '"""In other words: ')
    after = [code.now().closure([f"gfe_core.{name}"]) for name in ("shows", "uses", "own")]
    assert code.changed(before[0], after[0]) == ["gfe_core.nesterov"]
    assert before[1] == after[1]
    assert before[2] != after[2]


def test_half_an_edit_is_a_change_and_no_error(copied):
    before = keys()
    copied.add("gfe_core/nesterov.py", "class class")
    assert changes(before) == {"nesterov", "coarse"}


def test_functions_and_entrants_in_fields_are_rested_on():
    assert "gfe_core.fixed_grid" in code.rests_on(train(FixedGrid(10.0, alpha=decaying)))
    race = next(c for c in every_run(Setting.of("smoke", "embedded", device="cpu")) if isinstance(c, Race))
    rests = code.rests_on(race)
    assert {"gfe_core.amd", "gfe_core.levenberg_marquardt", "gfe_companion.methods.baselines"} <= rests.keys()
    assert "gfe_companion.methods" not in rests, "what the registry says of looks changes no race"


def test_a_setting_that_cannot_be_told_is_refused():
    class Vague:
        def encode(self):
            return None

    with pytest.raises(TypeError, match="solver = .*Vague.* frozen dataclass"):
        train(Vague()).key  # noqa: B018


def test_keys_of_a_profile_cost_well_under_a_second():
    configs = every_run(Setting.of("quick", "embedded", device="cpu"))
    started = time.process_time()
    made = {folders.folder_of(config) for config in configs}
    assert len(made) == len(configs) > 200
    assert time.process_time() - started < 1.0
