"""The figure shows what is loud and what is usual of a day, and the levels it shows are the engine's."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import ORIGINAL, BackgroundSettings, SpectrogramSettings
from dasanom_assets.spectrograms.background import background
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.engine import compute_part, levels_of, parts_of_day, settings_note
from dasanom_assets.spectrograms.representations import (
    CELLS,
    SHADES,
    Choice,
    Comparison,
    NoStretchError,
    choose,
    compare,
    draw,
    drawn,
    figure_png,
    limits,
    represent,
    second_of,
    thumbnail_png,
)
from dasanom_assets.spectrograms.whitening import WhiteChannel
from dasanom_assets.spectrograms.windows import SECOND_NS, channel_rows, first_frame
from dasanom_assets.tables.metadata import LARGEST_PICTURE
from dasanom_assets.tables.store import MissingDayError, Store
from dasanom_tests.recordings.test_bundle import write
from dasanom_tests.spectrograms.test_engine import FIRST, Array, noise

DAY = "2026-01-05"
BASE = SpectrogramSettings()
CHOICE = Choice("north", 117, FIRST + 25, FIRST + 47, 12)


def white(channel: int, seconds: np.ndarray, usable: np.ndarray | None = None) -> WhiteChannel:
    """A channel on which nothing happens."""
    rows = np.random.default_rng(channel).normal(size=(len(seconds), 8, 6)).astype(np.float32)
    usable = np.ones(len(seconds), bool) if usable is None else usable
    return WhiteChannel("north", channel, seconds * SECOND_NS, rows, usable, {"silent": ~usable})


def made_up_day() -> list[WhiteChannel]:
    """Three channels; on 101 an event in one band, and a calm.

    On 100 all bands are a little loud for a long time; on 102 it is calmer still.
    """
    day = [white(channel, FIRST + np.arange(600)) for channel in (100, 101, 102)]
    day[0].rows[300:400] += 1
    day[1].rows[200:206, :, 2] += 8
    day[1].rows[400:425] *= 0.3
    day[2].rows[100:125] *= 0.1
    return day


def test_the_event_is_the_loudest_stretch_in_its_middle_and_the_quiet_one_is_of_its_channel() -> None:
    choice = choose(made_up_day(), 20)
    assert (choice.fibre, choice.channel, choice.seconds) == ("north", 101, 20)
    assert abs(choice.event - FIRST + 10 - 203) <= 2
    assert 400 <= choice.quiet - FIRST <= 405


def test_a_stretch_that_is_too_quiet_is_not_usual() -> None:
    day = made_up_day()[:2]
    day[1].rows[300:325] = -4.0
    assert 400 <= choose(day, 20).quiet - FIRST <= 405


def test_missing_rows_and_gaps_are_not_chosen() -> None:
    seconds = np.delete(FIRST + np.arange(600), 410)
    usable = np.ones(len(seconds), bool)
    usable[203] = False
    event, calm = made_up_day()[1], white(101, seconds, usable)
    calm.rows[:] = np.delete(event.rows, 410, axis=0)
    choice = choose([calm], 20)
    for start in (choice.event, choice.quiet):
        assert not {203, 410} & set(range(start - FIRST, start - FIRST + 20))


@given(
    st.sets(st.integers(0, 60), max_size=60),
    st.sets(st.integers(0, 60), max_size=5),
    st.integers(1, 30),
)
def test_both_stretches_are_whole_and_apart_and_as_long_as_there_is_room(there: set, bad: set, most: int) -> None:
    seconds = np.array(sorted(there), np.int64)
    good = there - bad
    choice = choose([white(1, seconds, ~np.isin(seconds, list(bad)))], most)

    def pairs(length: int) -> list[tuple[int, int]]:
        whole = [s for s in sorted(good) if all(s + k in good for k in range(length))]
        return [(a, b) for a in whole for b in whole if abs(a - b) >= length]

    lengths = [length for length in range(1, most + 1) if pairs(length)]
    if not lengths:
        assert choice is None
    else:
        assert choice.seconds == lengths[-1]
        assert (choice.event, choice.quiet) in pairs(choice.seconds)


def test_a_longer_stretch_wins_over_a_louder_one() -> None:
    loud, long = white(1, FIRST + np.arange(20)), white(2, FIRST + np.arange(100))
    loud.rows[3:6] += 10
    assert choose([loud, long], 20).channel == 2
    assert choose([loud, long], 10).channel == 1


def test_what_is_given_is_not_chosen() -> None:
    day = made_up_day()
    fixed = choose(day, 20, FIRST + 500, FIRST + 30)
    assert (fixed.event, fixed.quiet) == (FIRST + 500, FIRST + 30)
    assert choose(day, 20, event=FIRST + 500).event == FIRST + 500
    with_quiet = choose(day, 20, quiet=FIRST + 200)  # where the event would be
    assert with_quiet.quiet == FIRST + 200
    assert abs(with_quiet.event - with_quiet.quiet) >= 20
    assert choose(day, 20, FIRST + 500, FIRST + 510) is None  # they overlap
    assert choose(day, 20, event=FIRST + 590) is None  # the signal ends before


@pytest.fixture(scope="module")
def signals() -> list[Array]:
    """Noise on 20 channels, on 117 with a tone for five seconds."""
    x = noise(70, 20)
    x[60_000:70_000, 17] += (3000 * np.sin(2 * np.pi * 200 / 2000 * np.arange(10_000))).astype(np.int16)
    return [Array(x)]


@pytest.fixture(scope="module")
def comparison(signals: list[Array]) -> Comparison:
    return Comparison(CHOICE, *represent(signals, BASE, DAY, CHOICE), "1 m / s")


def test_both_stretches_are_what_the_engine_makes_of_the_signal(
    signals: list[Array], comparison: Comparison
) -> None:
    assert [one.name for one in comparison.shown] == [
        "mel (HTK)", "mel (Slaney)", "linear", "third-octave", "Fourier power", "MFCC"
    ]  # fmt: skip
    assert not comparison.left_out
    for one in comparison.shown:
        assert one.settings.db_step == 0
        _, levels = levels_of(signals, one.settings, [np.array([117], np.int32)], FIRST, FIRST + 60)
        for start, shown in ((25, one.event), (47, one.quiet)):
            np.testing.assert_array_equal(shown, levels[0, start : start + 12].reshape(-1, levels.shape[3]))
        if one.name != "MFCC":
            sounds = slice(5 * one.settings.row_shape[0], 10 * one.settings.row_shape[0])  # the tone, s
            loudest = one.event[sounds].mean(axis=0).argmax()
            assert abs(one.centre_hz[loudest] / 200 - 1) < 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"group_channels": 2, "high_pass_hz": 20.0},
        {"common_mode_channels": 6},
        {"difference": "first", "difference_m": 5.0},
    ],
)
def test_conditioning_and_groups_are_those_of_the_day(signals: list[Array], changes: dict) -> None:
    base = BASE.model_copy(update=changes)
    choice = replace(CHOICE, channel=116 if base.group_channels == 2 else 117)
    shown, _ = represent(signals, base, DAY, choice)
    blocks = [block for part in parts_of_day(signals, base, DAY) for block in part.blocks]
    rows, levels = levels_of(signals, base, blocks, FIRST, FIRST + 60)
    of_day = levels[list(rows).index(choice.channel), 25:37].reshape(-1, BASE.bands)
    np.testing.assert_allclose(shown[0].event, of_day, atol=base.db_step / 2 + 1e-4)


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


def test_low_and_odd_rates_keep_what_they_carry() -> None:
    x = np.random.default_rng(0).normal(size=(70 * 3220, 2)).astype(np.float32)
    choice = replace(CHOICE, channel=101)
    odd = Array(x, sampling_rate_hz=3220.0, quantization=None)  # a frame is 824.32 samples
    assert len(represent([odd], BASE, DAY, choice)[0]) == 6
    low = Array(noise(70, 2, 20.0), sampling_rate_hz=20.0)
    shown, left_out = represent([low], BASE, DAY, choice)
    assert "third-octave" not in [one.name for one in shown]
    assert "third-octave: no third_octave band lies in 8 to 10 Hz" in left_out
    figure_png(Comparison(choice, shown, left_out, "unit"))


def test_other_channels_of_the_fibre_do_not_matter(signals: list[Array], comparison: Comparison) -> None:
    slow = Array(noise(70, 2, 20.0), sampling_rate_hz=20.0, channels=np.array([200, 201], np.int32))
    shown, left_out = represent([*signals, slow], BASE, DAY, CHOICE)
    assert not left_out
    for one, alone in zip(shown, comparison.shown, strict=True):
        np.testing.assert_array_equal(one.event, alone.event)


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


def test_the_thumbnail_is_small_even_of_noise(comparison: Comparison) -> None:
    rng = np.random.default_rng(0)
    shown = [
        replace(one, **{name: rng.normal(size=(160, one.event.shape[1])) for name in ("event", "quiet")})
        for one in comparison.shown
    ]
    png = thumbnail_png(replace(comparison, shown=shown))
    assert len(png) <= LARGEST_PICTURE
    assert Image.open(io.BytesIO(png)).size == (806, 364)


@pytest.fixture(scope="module")
def store(signals: list[Array], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A day of three channels from their bundle to the tables, 102 of them dead."""
    root = tmp_path_factory.mktemp("representations")
    folder = root / "landing" / DAY
    folder.mkdir(parents=True)
    x = signals[0].samples[:, 16:19].copy()
    x[:, 2] = 0
    sidecar = {"selected_channel_zones": [100, 102], "start_time": f"{DAY}T00:00:00Z", "units": "nm"}
    write(folder, x, sidecar, stem="north_1")
    store = Store(str(root))
    recordings = catalogue_day(store, DAY).recordings
    store.write_day("recordings", DAY, recordings)
    heard = stretches(store, recordings)
    files = [file for part in parts_of_day(heard, BASE, DAY) for file in compute_part(heard, BASE, part)[0]]
    store.write_day_parts("spectrograms", DAY, files, settings_note(heard, BASE))
    store.write_day("background", DAY, *background(store, DAY, BackgroundSettings()))
    store.write_day("channel_health", DAY, channel_health(heard)[0])
    store.write_day("clipped_seconds", DAY, channel_health(heard)[1])
    store.write_day("common_levels", DAY, common_levels(store, DAY, BackgroundSettings()))
    return store


def test_a_day_is_compared_from_its_recordings(store: Store) -> None:
    found = compare(store, DAY, BackgroundSettings(), 12)
    assert (found.choice.fibre, found.choice.channel, found.unit) == ("north", 101, "nm")
    assert found.choice.event <= FIRST + 30 < FIRST + 35 <= found.choice.event + 12
    table = channel_rows(store, DAY, "north", 101)
    at = found.choice.event - FIRST
    of_day = table.power_db[at : at + 12].reshape(-1, BASE.bands)
    np.testing.assert_allclose(found.shown[0].event, of_day, atol=BASE.db_step / 2 + 1e-4)
    picture = Image.open(io.BytesIO(figure_png(found)))
    assert (picture.format, picture.size) == ("PNG", (2200, 1600))
    pixels = np.asarray(picture.convert("RGB"), np.int16)
    coloured = np.ptp(pixels, axis=2).max(axis=1) > 60
    assert coloured[200:700].all()  # above in colour, below in grey
    assert not coloured[850:].any()


def test_an_analyst_may_say_what_is_shown(store: Store) -> None:
    found = compare(
        store, DAY, BackgroundSettings(), 5, "north", 100, f"{DAY}T00:00:10.7", f"{DAY}T01:00:40+01:00"
    )
    assert found.choice == Choice("north", 100, FIRST + 10, FIRST + 40, 5)
    assert found.shown[0].event.shape == (5 * BASE.row_shape[0], BASE.bands)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"channel": 102}, "for channel 102 and 12 s"),
        ({"fibre": "south"}, "for fibre south and 12 s"),
        ({"event_start": "2026-01-05T10:00:00"}, "for event_start 2026-01-05T10:00:00 and 12 s"),
    ],
)
def test_what_is_not_there_is_refused_by_name(store: Store, asked: dict, said: str) -> None:
    with pytest.raises(NoStretchError, match=f"{DAY} has no channel, neither dead nor saturated, .*{said}"):
        compare(store, DAY, BackgroundSettings(), 12, **asked)


def test_a_day_without_tables_names_the_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDayError, match="materialize spectrograms"):
        compare(Store(str(tmp_path)), DAY, BackgroundSettings(), 20)


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert second_of("2026-01-05T00:00:01.9") == FIRST + 1
    assert second_of("2026-01-05T03:00:00+03:00") == FIRST
