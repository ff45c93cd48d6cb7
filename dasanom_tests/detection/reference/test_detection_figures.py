"""Pictures of a reference fit into an event, and tell of clusters, no clusters, and how often there are events."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from dasanom_assets.detection.detectors.clustering import fit_clusters
from dasanom_assets.detection.detectors.clusters import refit
from dasanom_assets.detection.reference.figures import LABELLED, condensed_tree, rates_figure
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.tables.metadata import LARGEST_PICTURE, png, thumbnail
from dasanom_tests.detection.calibration.test_rates import made
from dasanom_tests.detection.detectors.test_clusters import blobs, parameters


def texts(figure: Figure) -> str:
    (axes,) = figure.axes
    legend = axes.get_legend()
    result = [axes.get_title(loc="left"), axes.get_title(), *(t.get_text() for t in axes.texts)]
    return "\n".join(result + ([t.get_text() for t in legend.get_texts()] if legend else []))


def test_each_cluster_is_labelled_with_its_number_and_windows() -> None:
    clusters = fit_clusters(blobs(), DetectionSettings())
    said = texts(condensed_tree(clusters))
    assert f"2 clusters in {len(blobs())} windows" in said
    assert "DBCV" in said
    for size in np.bincount(clusters.labels[clusters.labels >= 0]):
        assert f"{size:,}" in said.splitlines()


def test_many_clusters_are_labelled_as_far_as_labels_fit() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 6)) * 20
    points = np.concatenate([c + rng.normal(size=(40, 6)) for c in centres]).astype(np.float32)
    figure = condensed_tree(refit(points, parameters(20, 5)))
    assert f"{LABELLED} largest labelled" in texts(figure)
    assert len(figure.axes[0].texts) == 2 * LABELLED


def test_no_cluster_is_said_and_drawn_without_colour() -> None:
    chosen = parameters(119, 5) | {"outlier_score": "distance to the 5th nearest reference window"}
    figure = condensed_tree(refit(blobs(120), chosen))
    assert "No cluster: all 120 windows are noise" in texts(figure)
    colours = np.asarray(Image.open(io.BytesIO(png(figure, dpi=144))).convert("RGB")).reshape(-1, 3).astype(int)
    assert np.ptp(colours, axis=1).max() == 0


@pytest.mark.parametrize(("n", "shape"), [(0, 0.0), (5, 0.0), (500, 0.0), (500, 0.3)])
def test_rates_are_drawn_with_the_events_the_budget_and_what_the_reference_resolves(n: int, shape: float) -> None:
    rates = made(stats.genpareto.rvs(shape, size=n, random_state=np.random.default_rng(0)), km_days=4.0)
    figure = rates_figure(rates, 1.0)
    assert {"budget: 1 a km and day", f"{n} reference events", "90% interval"} <= set(texts(figure).splitlines())
    assert "Rates of 4 km·days" in texts(figure)
    parts = {line.get_label(): line for line in figure.axes[0].lines}
    assert parts["budget: 1 a km and day"].get_ydata()[0] == 1.0
    assert parts["once in all of the reference"].get_ydata()[0] == 0.25
    curve = parts["events as strong"]
    np.testing.assert_allclose(curve.get_ydata(), rates.pooled(curve.get_xdata()).rate)
    assert parts[f"{n} reference events"].get_ydata().tolist() == (np.arange(1, n + 1) / 4.0).tolist()
    low, high = figure.axes[0].get_ylim()
    assert low < 0.25 < 1 < high
    assert thumbnail(figure)


def test_the_tail_is_drawn_as_far_as_the_budget_and_no_further() -> None:
    rates = made(np.random.default_rng(0).exponential(size=500))
    curve = next(
        line for line in rates_figure(rates, 0.01).axes[0].lines if line.get_label() == "events as strong"
    )
    assert curve.get_ydata()[-1] < 0.01
    assert curve.get_xdata()[-1] < rates.thresholds(1e-4, "north", 0)[0]


def test_pictures_fit_into_an_event_and_a_page_has_twice_the_dots() -> None:
    for figure in (
        condensed_tree(fit_clusters(blobs(), DetectionSettings())),
        rates_figure(made(np.random.default_rng(0).exponential(size=6000)), 1.0),
    ):
        small = thumbnail(figure)
        assert len(small) <= LARGEST_PICTURE
        assert Image.open(io.BytesIO(small)).format == "PNG"
        assert Image.open(io.BytesIO(png(figure, dpi=144))).format == "PNG"
