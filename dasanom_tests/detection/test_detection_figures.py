"""Pictures of a reference fit into an event, and tell of clusters, no clusters, and every threshold."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dasanom_assets.detection.clustering import fit_clusters, refit
from dasanom_assets.detection.figures import LABELLED, calibration, condensed_tree, page
from dasanom_assets.detection.thresholds import Calibration
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.tables.metadata import LARGEST_PICTURE, thumbnail
from dasanom_tests.detection.test_clustering import blobs, parameters

THRESHOLDS = {"budget": 6.0, "conformal": 3.0, "gaussian": 2.0, "quantile": 2.5}


def texts(figure: Figure) -> str:
    (axes,) = figure.axes
    legend = axes.get_legend()
    found = [axes.get_title(loc="left"), axes.get_title(), *(t.get_text() for t in axes.texts)]
    return "\n".join(found + ([t.get_text() for t in legend.get_texts()] if legend else []))


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
    colours = np.asarray(Image.open(io.BytesIO(page(figure))).convert("RGB")).reshape(-1, 3).astype(int)
    assert np.ptp(colours, axis=1).max() == 0


@pytest.mark.parametrize("heavy", [False, True])
def test_every_threshold_is_a_line_with_its_score(heavy: bool) -> None:
    rng = np.random.default_rng(0)
    scores = rng.gamma(4, 0.1, 6000) if not heavy else rng.pareto(2, 6000)
    fused = Calibration.fit(scores, np.inf)
    figure = calibration(fused, THRESHOLDS, "budget")
    said = texts(figure).splitlines()
    assert {"budget: score 6.0, decides", "conformal: score 3.0", "gaussian: score 2.0"} <= set(said)
    drawn = {line.get_label(): line.get_xdata()[0] for line in figure.axes[0].lines}
    assert drawn["conformal: score 3.0"] == pytest.approx(fused.threshold("conformal", 1e-3, 0))


def test_the_fitted_curve_follows_the_bars_where_there_are_many_windows() -> None:
    fused = Calibration.fit(np.random.default_rng(0).gamma(4, 0.1, 50_000), np.inf)
    axes = calibration(fused, THRESHOLDS, "budget").axes[0]
    bars = np.array([bar.get_height() for bar in axes.patches])
    (curve,) = (line.get_ydata() for line in axes.lines if line.get_label().startswith("fitted"))
    many = bars > 300
    assert many.sum() > 10
    np.testing.assert_allclose(curve[many], bars[many], rtol=0.2)


def test_a_threshold_that_is_never_reached_is_drawn_nowhere() -> None:
    few = Calibration.fit(np.random.default_rng(0).gamma(4, 0.1, 50), np.inf)  # no tail: nothing beyond 1 in 51
    figure = calibration(few, THRESHOLDS, "budget")
    assert "conformal: score 3.0" in texts(figure)
    assert thumbnail(figure)


def test_pictures_fit_into_an_event_and_a_page_has_twice_the_dots() -> None:
    for figure in (
        condensed_tree(fit_clusters(blobs(), DetectionSettings())),
        calibration(Calibration.fit(np.random.default_rng(0).gamma(4, 0.1, 6000), np.inf), THRESHOLDS, "budget"),
    ):
        small = thumbnail(figure)
        assert len(small) <= LARGEST_PICTURE
        assert Image.open(io.BytesIO(small)).size == (576, 288)
        assert Image.open(io.BytesIO(page(figure))).size == (1152, 576)
