"""The table of an iteration's parts: they add up, and what was timed alone is no part of the sum."""

import pandas as pd

from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_iteration as study
from gfe_companion.studies import beyond_plans, beyond_the_paper


def test_the_parts_add_up_and_what_was_timed_alone_does_not():
    setting = Setting.of("smoke", "embedded")
    parts = pd.DataFrame({"part": ["gradients", "optimiser", "products"], "ms": [6.0, 2.0, 4.0], "alone": [0, 0, 1]})
    table = study.table_iteration(setting, parts.assign(alone=parts.alone.astype(bool)))
    rows = table.shown.set_index("part of an iteration")
    assert rows.ms.to_dict() == {
        "gradients": "6.00", "optimiser": "2.00", "**an iteration**": "8.00", "alone: products": "4.00",
    }  # fmt: skip
    assert rows.share.tolist() == ["75%", "25%", "100%", "50%"]
    assert table.name == "table_08_iteration" and "16 images" in table.notes


def test_it_goes_on_from_the_decoder_of_the_race_and_the_notebook_needs_it():
    setting = Setting.of("smoke", "embedded")
    plan, others = study.plan(setting), beyond_plans.planned(setting)
    assert plan in beyond_the_paper.needs(setting) and plan.images in plan.training.kept
    assert plan.training in [config.trained for config in others], "it costs no training of its own"
