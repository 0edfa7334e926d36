"""The plans of Table 1 and Figure 4: every cell, and how far trainings go."""

from gfe_companion.methods import LITERAL
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import plans


def test_table_1_holds_every_cell_and_the_literal_column_only_where_it_is_affordable():
    for name, methods in (("quick", 3), ("paper", 4)):
        setting = Setting.of(name, "embedded", device="cpu")
        table = plans.table1(setting)
        assert len(table) == len(setting.profile.table1_images) * methods * len(setting.seeds)
        assert not table.duplicated(["images", "method", "seed"]).any()
        assert len(setting.seeds) >= (5 if name == "paper" else 3)
        assert LITERAL.s_max == 10
        literal = table[table.method == "gfe_amd"].config
        assert all(c.solver == c.training.solver == LITERAL for c in literal)


def test_some_are_tested_on_fewer_images_spread_evenly_over_those_of_the_others():
    for name in ("smoke", "quick", "paper"):
        setting = Setting.of(name, "embedded", device="cpu")
        test = plans.table1(setting).query("method == 'gfe_amd_uncapped'").config.iloc[0]
        fewer = plans.fewer(test, setting.profile)
        taken = range(test.count)[:: fewer.every][: fewer.count]
        assert test.every == 1 and len(taken) == fewer.count == setting.profile.slow_test_images
        assert test.count - fewer.every <= taken[-1] < test.count
    tests = plans.table1(Setting.of("paper", "embedded", device="cpu")).set_index("method").config
    for few in ("gfe_amd", "ae_then_amd"):
        assert {(test.count, test.every) for test in tests[few]} == {(1000, 10)}
    assert {(test.count, test.every) for test in tests.drop(["gfe_amd", "ae_then_amd"])} == {(10_000, 1)}


def test_figure_4_goes_as_far_as_its_claims_need_in_the_paper_profile():
    plan = plans.figure4(Setting.of("paper", "embedded", device="cpu"))
    reach = plan.groupby("method").config.agg(lambda configs: max(max(c.measured) for c in configs))
    assert (reach["ae"], reach["gfe_amd_uncapped"]) == (600_000, 64_000)
    assert reach["gfe_amd"] == 5760
