"""The plans of Table 1 and Figure 4: every cell, and how far trainings go."""

from gfe_companion.methods import LITERAL
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import plans


def test_table_1_holds_every_cell_and_the_literal_column_only_where_it_is_affordable():
    for name, methods in (("quick", 3), ("paper", 4)):
        setting = Setting.of(name, "embedded", device="cpu")
        table = plans.table1(setting)
        assert len(table) == 5 * methods * len(setting.seeds)
        assert not table.duplicated(["images", "method", "seed"]).any()
        assert len(setting.seeds) >= (5 if name == "paper" else 3)
        assert LITERAL.s_max == 10
        literal = table[table.method == "gfe_amd"].config
        assert all(c.solver == c.training.solver == LITERAL for c in literal)


def test_figure_4_reaches_800_000_images_in_the_paper_profile():
    plan = plans.figure4(Setting.of("paper", "embedded", device="cpu"))
    reach = plan.groupby("method").config.agg(lambda configs: max(max(c.measured) for c in configs))
    assert reach["ae"] == reach["gfe_amd_uncapped"] == 800_000
    assert reach["gfe_amd"] == 5760
