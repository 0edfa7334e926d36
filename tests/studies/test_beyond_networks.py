"""Other networks on the clock: which are tried, and what the table and its sentence say of made-up losses."""

import pandas as pd
import pytest

from gfe_companion.methods.networks import Network
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_networks, beyond_the_paper
from gfe_companion.studies import beyond_tuned_plans as plans


@pytest.fixture
def setting():
    return Setting.of("quick", "embedded", device="cpu")


def test_each_network_is_trained_in_each_way_for_the_same_seconds(setting):
    plan = plans.networks(setting)
    for (dataset, network), part in plan.groupby(["dataset", "network"], sort=False):
        assert set(part.method) == set(plans.TRAINERS)
        for config in part.config:
            assert (config.training.dataset, config.training.network) == (dataset, network)
    assert {dataset for dataset, _ in plans.NETWORKS} <= set(beyond_the_paper.DATASETS)
    dims = {network.latent_dim for _, network in plans.NETWORKS}
    assert dims == {5, 20, 64} and ("fashion_mnist", Network(20, convolutional=True)) in plans.NETWORKS


def test_the_table_and_the_sentence_say_where_gfe_is_below(setting):
    lows = {
        ("ae", "own"): 0.2,
        ("ae", "optimum"): 0.15,
        ("gfe_fast", "optimum"): 0.16,
        ("gfe_rehearsed", "optimum"): 0.14,
    }
    rows = [
        (dataset, str(network), method, encoding, 0, 4.1, low + 0.1 * (encoding == "own" and network.convolutional))
        for dataset, network in plans.NETWORKS
        for (method, encoding), low in lows.items()
    ]
    columns = ["dataset", "network", "method", "encoding", "seed", "seconds", "loss"]
    losses = pd.DataFrame(rows, columns=columns)
    losses.loc[(losses.network == "linear layers, d = 5") & (losses.method == "gfe_rehearsed"), "loss"] = 0.3
    shown = beyond_networks.table_networks(setting, losses).shown
    assert len(shown) == len(plans.NETWORKS)
    assert shown.iloc[-1].tolist()[1:] == [
        "convolutional, d = 20",
        "0.3000",
        "0.1500",
        "0.1600",
        "0.1400",
        "4.1 / 4.1 / 4.1",
    ]
    said = beyond_networks.say_networks(losses)
    assert "GFE, at the optimum, lies below “AE, its own encoder” with 5 of 5 networks." in said
    assert "GFE, at the optimum, lies below “AE decoder, at the optimum” with 0 of 5 networks (not with MNIST" in said
    assert "“AE decoder, at the optimum” with 4 of 5 networks (not with MNIST, linear layers, d = 5)." in said
    assert said.startswith("With one seed, ")


def test_a_network_with_which_gfe_took_longer_is_not_counted():
    columns = ["dataset", "network", "method", "encoding", "seed", "seconds", "loss"]
    rows = [
        ("mnist", network, method, encoding, seed, seconds if method == "gfe_fast" else 2.0, loss)
        for network, seconds in (("small", 2.1), ("large", 3.0))
        for method, encoding, loss in (
            ("ae", "own", 0.2), ("ae", "optimum", 0.2), ("gfe_fast", "optimum", 0.1), ("gfe_rehearsed", "optimum", 0.1),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    losses = pd.DataFrame(rows, columns=columns)
    said = beyond_networks.say_networks(losses)
    assert said.startswith("In the mean over 2 seeds, ")
    assert "1 of 1 networks; not counted, since it took longer than the AE: MNIST, large (1.5 times)." in said
    assert "GFE rehearsed, at the optimum, lies below “AE, its own encoder” with 2 of 2 networks." in said
    said = beyond_networks.say_networks(losses[losses.network == "large"])
    assert "GFE, at the optimum, is compared with “AE, its own encoder” with no network; not counted, since" in said
    assert "0 of 0" not in said
