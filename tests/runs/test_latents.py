"""Measures of class structure on latents whose structure is known, and t-SNE maps that keep neighbours together."""

import numpy as np
import pytest

from gfe_companion.runs.latents import structure, tsne

LABELS = np.repeat(np.arange(4), 50)


def clusters(spread, seed=0):
    """Four classes around the corners of a square in twenty dimensions."""
    generator = np.random.default_rng(seed)
    centres = np.zeros((4, 20))
    centres[:, :2] = [[0, 0], [0, 10], [10, 0], [10, 10]]
    return centres[LABELS] + spread * generator.normal(size=(200, 20))


def test_classes_apart_are_found_and_shuffled_ones_are_not():
    apart = structure(clusters(0.5), LABELS).mean()
    assert apart.neighbours == apart.probe == 1.0
    assert apart.silhouette > 0.6
    shuffled = structure(clusters(0.5), np.random.default_rng(1).permutation(LABELS)).mean()
    assert shuffled.neighbours < 0.45
    assert shuffled.probe < 0.45
    assert shuffled.silhouette < 0.05


def test_more_spread_is_less_structure():
    means = [structure(clusters(spread), LABELS).mean() for spread in (1.0, 4.0, 16.0)]
    for measure in ("neighbours", "probe", "silhouette"):
        values = [mean[measure] for mean in means]
        assert values == sorted(values, reverse=True)


def test_a_map_is_the_same_every_time_and_keeps_neighbours():
    z = clusters(1.0)
    drawn = tsne(z, 30, 4, 100)
    np.testing.assert_array_equal(drawn, tsne(z, 30, 4, 100))
    found = structure(z, LABELS, drawn)
    assert list(found.columns) == ["label", "neighbours", "probe", "silhouette", "x", "y", "trustworthiness"]
    assert found.trustworthiness.iloc[0] > 0.85
    random = structure(z, LABELS, np.random.default_rng(0).normal(size=(200, 2)))
    assert random.trustworthiness.iloc[0] < 0.6
    assert structure(drawn, LABELS).neighbours.mean() > 0.95
    with pytest.raises(ValueError, match="perplexity"):
        tsne(z[:20], 30, 4, 100)
