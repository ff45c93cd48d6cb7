"""Steps of the spectrograms stage, each defined once: assets, benchmarks, tests and notebooks call these.

A day in a notebook, from recordings that are simulated here to whitened windows:

>>> from datetime import date
>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from dasanom_assets.recordings import steps as recordings
>>> from dasanom_assets.recordings.simulation.simulate import simulate
>>> from dasanom_assets.recordings.simulation.sites import Line
>>> from dasanom_assets.settings import Settings
>>> from dasanom_assets.spectrograms import steps
>>> from dasanom_assets.spectrograms.cluster import open_client
>>> from dasanom_assets.spectrograms.whitening import white_day
>>> from dasanom_assets.spectrograms.frames import day_frames
>>> from dasanom_assets.spectrograms.windows import make_bank, window_rows
>>> from dasanom_assets.tables.store import Store
>>> folder, day, settings = TemporaryDirectory(), "2026-01-05", Settings()
>>> line = Line(zones=((100, 103),), minutes=1, sampling_rate_hz=500)
>>> simulate(line, [date.fromisoformat(day)], Path(folder.name), contractor=False)
>>> store = Store(folder.name)
>>> recordings.recordings(store, day, settings)
>>> with open_client(settings.dask) as dask:
...     steps.spectrograms(store, day, settings, dask=dask)
>>> {frames.channel: frames.power_db.shape for frames in day_frames(store, day)}
{100: (60, 8, 64), 101: (60, 8, 64), 102: (60, 8, 64), 103: (60, 8, 64)}
>>> steps.background(store, day, settings)
>>> steps.common_levels(store, day, settings)
>>> for channel in white_day(store, day, settings.background, settings.window):
...     first = window_rows(channel.start_ns, channel.usable, settings.window)
...     bank = make_bank(channel.rows[:], first, channel.start_ns[first], settings.spectrogram, settings.window)
>>> channel.channel, len(bank), bank.window(0).shape
(103, 53, (64, 64))
>>> folder.cleanup()
"""

from collections.abc import Callable
from typing import Any

from dasanom_assets.tables.provenance import Day, info, step, warning

HISTOGRAM_SETTINGS = ("background.hour_classes",)
BACKGROUND_SETTINGS = (*HISTOGRAM_SETTINGS, "background.look_back_days")


@step("spectrograms", "channel_health", "clipped_seconds", settings=("spectrogram", "limits"), code="4")
def spectrograms(
    day: Day, dask: Any, warn: Callable[[str], object] = warning, say: Callable[[str], object] = info
) -> None:
    """Levels of bands in dB: one row a second and channel, on a grid of UTC seconds; and how its channels are."""
    import pyarrow as pa

    from dasanom_assets.recordings.catalogue import adjoining
    from dasanom_assets.recordings.of_day import while_there

    adjacent = adjoining(day, day.iso, day.settings.limits)
    recordings = pa.concat_tables([day.read("recordings"), adjacent])
    while_there(day, day.iso, recordings, lambda there: _write_levels(day, there, adjacent, dask, warn, say), warn)


def _write_levels(
    day: Day,
    recordings: Any,
    adjacent: Any,
    dask: Any,
    warn: Callable[[str], object],
    say: Callable[[str], object],
) -> None:
    from dasanom_assets.recordings.fibres import places_of
    from dasanom_assets.recordings.health import Sums, health_of
    from dasanom_assets.recordings.of_day import of_day
    from dasanom_assets.recordings.signal import stretches
    from dasanom_assets.spectrograms.engine import day_seconds, rows_expected, settings_note, spectrogram_parts
    from dasanom_assets.spectrograms.levels import overlaps, unfit
    from dasanom_assets.tables.metadata import LoggedProgress

    settings = day.settings.spectrogram
    signals = stretches(day, recordings, places_of(day, [day.iso]))
    signals = [signal for signal in signals if overlaps(signal, *day_seconds(day.iso))]
    heard, sums = list(of_day(signals, day.iso)), list[Sums]()
    left_out = sorted({reason for signal in signals if (reason := unfit(signal, settings))})
    for reason in left_out:
        warn(f"left out: {reason}")
    signals = [signal for signal in signals if not unfit(signal, settings)]
    note = settings_note(signals, settings) | {"left_out": left_out, "adjoining": adjacent["path"].to_pylist()}
    total = rows_expected(signals, settings, day.iso)
    say(f"{len(dask.nthreads())} workers, {sum(dask.nthreads().values())} threads; {dask.scheduler.address}")
    with LoggedProgress(say, total, "channel-seconds") as progress:
        parts = spectrogram_parts(signals, settings, day.iso, dask, progress.update, heard, sums.extend)
        day.write_day_parts("spectrograms", day.iso, parts, note)
    health, clipped = health_of(sums)
    day.write("clipped_seconds", clipped)
    day.write("channel_health", health)


@step("level_histograms", settings=HISTOGRAM_SETTINGS, code="2")
def level_histograms(day: Day, dask: Any = None) -> None:
    """How often each level occurs in each channel and band: a day's sketch, for the background."""
    from dasanom_assets.spectrograms.background import histograms_note
    from dasanom_assets.spectrograms.background import level_histograms as compute

    settings = day.settings.background
    rows = compute(day, day.iso, settings, dask)
    day.write("level_histograms", rows, histograms_note(day, day.iso, settings))


@step("background", settings=BACKGROUND_SETTINGS, code="2", feedback=("anomaly_events", "verdicts"))
def background(day: Day) -> None:
    """Median and MAD per channel and band over the days before, without what was flagged there."""
    from dasanom_assets.spectrograms.background import background as compute

    day.write("background", *compute(day, day.iso, day.settings.background))


@step("common_levels", settings=("background",), code="2")
def common_levels(day: Day) -> None:
    """What all channels of a stretch share, second by second: wind and drift, which are no events."""
    from dasanom_assets.spectrograms.common_level import common_levels as compute

    day.write("common_levels", compute(day, day.iso, day.settings.background))
