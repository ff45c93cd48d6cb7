"""The figure shows the levels that it was given, at their times and frequencies, on shared scales."""

import io
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dasanom_assets.settings import ORIGINAL, SpectrogramSettings
from dasanom_assets.spectrograms.representation_figures import CELLS, SHADES, draw, drawn, limits, thumbnail_png
from dasanom_assets.spectrograms.representations import Comparison, represent
from dasanom_assets.spectrograms.windows import SECOND_NS, first_frame
from dasanom_assets.tables.metadata import LARGEST_PICTURE
from dasanom_tests.spectrograms.conftest import BASE, CHOICE
from dasanom_tests.spectrograms.test_engine import DAY, FIRST, Array


def panels(figure: Figure) -> np.ndarray:
    """The axes of the figure that hold stretches, shape (rows, columns)."""
    axes = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return np.array(axes).reshape(-1, axes[0].get_gridspec().ncols)


def test_every_panel_holds_its_levels_and_kinds_share_their_colours(comparison: Comparison) -> None:
    figure = draw(comparison, SHADES, (11, 8), 50, CELLS)
    grid = panels(figure)
    assert grid.shape == (4, 6)
    for row, (shade, name) in zip(grid, [(s, n) for s in SHADES for n in ("event", "quiet")], strict=True):
        for axes, one in zip(row, comparison.shown, strict=True):
            (image,) = axes.images
            np.testing.assert_allclose(image.get_array().T, drawn(one, getattr(one, name)), atol=1e-4)
            assert image.get_cmap().name == shade
            same = [r for r in comparison.shown if (r.name == "MFCC") == (one.name == "MFCC")]
            assert image.get_clim() == limits(same)
    power, mfcc = comparison.shown[4], comparison.shown[5]
    assert drawn(power, power.event) is power.event
    assert drawn(mfcc, mfcc.event).shape[1] == BASE.coefficients - 1
    bars = {axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"}
    assert bars == {"dB re (m / s)²/Hz", "MFCC (dB)"}


def test_ticks_name_the_bands_they_stand_at(comparison: Comparison) -> None:
    row = panels(draw(comparison, SHADES, (11, 8), 50, CELLS))[0]
    for axes, one in zip(row[:5], comparison.shown, strict=False):
        assert len(axes.get_yticks()) >= 4
        for place, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
            nearest = one.centre_hz[min(int(place), len(one.centre_hz) - 1)]
            assert abs(float(label.get_text()) / nearest - 1) < 0.2
    labels = [label.get_text() for label in row[5].get_yticklabels()]
    assert labels == ["1", "4", "7", "10", "13", "16", "19"]
    assert list(row[5].get_yticks()) == [int(label) - 0.5 for label in labels]  # coefficient 1 is the first row


def test_nothing_overlaps(comparison: Comparison) -> None:
    figure = draw(comparison, SHADES, (11, 8), 100, CELLS)
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox().padded(1) for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    texts = [text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert min(text.get_fontsize() for text in texts) >= 8


def test_long_stretches_are_averaged_in_time(signals: list[Array]) -> None:
    choice = replace(CHOICE, event=FIRST, quiet=FIRST + 35, seconds=35)
    shown, _ = represent(signals, BASE.model_copy(update={"hop_seconds": 0.05}), DAY, choice)
    axes = panels(draw(Comparison(choice, shown, [], "unit"), SHADES, (11, 8), 50, 100))[0, 0]
    assert len(shown[0].event) == 700
    averaged = axes.images[0].get_array()
    np.testing.assert_allclose(averaged[:, 3], shown[0].event[21:28].mean(axis=0), rtol=1e-4)


def test_the_settings_of_2021_draw_frames_at_their_times(signals: list[Array]) -> None:
    base = SpectrogramSettings(**ORIGINAL["spectrogram"])
    shown, left_out = represent(signals, base, DAY, CHOICE)
    assert not left_out
    hop = base.hop_ns
    first, last = first_frame(CHOICE.event, hop), first_frame(CHOICE.event + 12, hop)
    figure = draw(Comparison(CHOICE, shown, [], "unit"), SHADES, (11, 8), 50, CELLS)
    for axes, one in zip(panels(figure)[0], shown, strict=True):
        assert len(one.event) == last - first
        assert np.isfinite(one.event).all()
        left, right, *_ = axes.images[0].get_extent()
        assert np.allclose([left, right], [(k * hop / SECOND_NS - CHOICE.event) for k in (first, last)])
        assert axes.get_xlim() == (0, 12)


def test_the_thumbnail_is_small_even_of_noise(comparison: Comparison) -> None:
    rng = np.random.default_rng(0)
    shown = [
        replace(one, **{name: rng.normal(size=(160, one.event.shape[1])) for name in ("event", "quiet")})
        for one in comparison.shown
    ]
    png = thumbnail_png(replace(comparison, shown=shown))
    assert len(png) <= LARGEST_PICTURE
    assert Image.open(io.BytesIO(png)).format == "PNG"
