"""What is compared is what is loud and what is usual of a day, and its levels are the engine's."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import BackgroundSettings
from dasanom_assets.spectrograms.background import background
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.engine import parts_of_day, settings_note
from dasanom_assets.spectrograms.frames import channel_rows
from dasanom_assets.spectrograms.levels import levels_of
from dasanom_assets.spectrograms.representation_figures import figure_png
from dasanom_assets.spectrograms.representations import Comparison, NoStretchError, compare, represent, second_of
from dasanom_assets.spectrograms.stretch_choice import Choice
from dasanom_assets.tables.store import MissingDayError, Store
from dasanom_tests.recordings.test_bundle import write
from dasanom_tests.spectrograms.conftest import BASE, CHOICE
from dasanom_tests.spectrograms.test_engine import DAY, FIRST, Array, noise, parts_here


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
    for one, single in zip(shown, comparison.shown, strict=True):
        np.testing.assert_array_equal(one.event, single.event)


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
    store.write_day_parts("spectrograms", DAY, parts_here(heard, BASE, DAY), settings_note(heard, BASE))
    store.write_day("background", DAY, *background(store, DAY, BackgroundSettings()))
    store.write_day("channel_health", DAY, channel_health(heard)[0])
    store.write_day("clipped_seconds", DAY, channel_health(heard)[1])
    store.write_day("common_levels", DAY, common_levels(store, DAY, BackgroundSettings()))
    return store


def test_a_day_is_compared_from_its_recordings(store: Store) -> None:
    comparison = compare(store, DAY, BackgroundSettings(), 12)
    assert (comparison.choice.fibre, comparison.choice.channel, comparison.unit) == ("north", 101, "nm")
    assert comparison.choice.event <= FIRST + 30 < FIRST + 35 <= comparison.choice.event + 12
    table = channel_rows(store, DAY, "north", 101)
    row = comparison.choice.event - FIRST
    of_day = table.power_db[row : row + 12].reshape(-1, BASE.bands)
    np.testing.assert_allclose(comparison.shown[0].event, of_day, atol=BASE.db_step / 2 + 1e-4)
    picture = Image.open(io.BytesIO(figure_png(comparison)))
    assert picture.format == "PNG"


def test_an_analyst_may_say_what_is_shown(store: Store) -> None:
    comparison = compare(
        store, DAY, BackgroundSettings(), 5, "north", 100, f"{DAY}T00:00:10.7", f"{DAY}T01:00:40+01:00"
    )
    assert comparison.choice == Choice("north", 100, FIRST + 10, FIRST + 40, 5)
    assert comparison.shown[0].event.shape == (5 * BASE.row_shape[0], BASE.bands)


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
