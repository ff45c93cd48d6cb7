"""Steps of the spectrograms stage, each defined once: assets, benchmarks, tests and notebooks call these."""

from collections.abc import Callable
from typing import Any

from dasanom_assets.tables.provenance import Day, info, step, warning

HISTOGRAM_SETTINGS = ("background.hour_classes",)
BACKGROUND_SETTINGS = (*HISTOGRAM_SETTINGS, "background.look_back_days")


@step("spectrograms", settings=("spectrogram",))
def spectrograms(
    day: Day, dask: Any, warn: Callable[[str], object] = warning, say: Callable[[str], object] = info
) -> None:
    """Levels of bands in dB: one row a second and channel, on a grid of UTC seconds."""
    import pyarrow as pa

    from dasanom_assets.recordings.catalogue import adjoining
    from dasanom_assets.recordings.signal import stretches
    from dasanom_assets.spectrograms.engine import rows_expected, settings_note, spectrogram_parts
    from dasanom_assets.spectrograms.levels import unfit
    from dasanom_assets.tables.metadata import LoggedProgress

    settings = day.settings.spectrogram
    around = adjoining(day, day.iso)
    signals = stretches(day, pa.concat_tables([day.read("recordings"), around]))
    left_out = sorted({reason for signal in signals if (reason := unfit(signal, settings))})
    for reason in left_out:
        warn(f"left out: {reason}")
    signals = [signal for signal in signals if not unfit(signal, settings)]
    note = settings_note(signals, settings) | {"left_out": left_out, "adjoining": around["path"].to_pylist()}
    total = rows_expected(signals, settings, day.iso)
    say(f"{len(dask.nthreads())} workers; their dashboard: {dask.dashboard_link}")
    with LoggedProgress(say, total, "channel-seconds") as progress:
        parts = spectrogram_parts(signals, settings, day.iso, dask, progress.update)
        day.write_day_parts("spectrograms", day.iso, parts, note)


@step("level_histograms", settings=HISTOGRAM_SETTINGS)
def level_histograms(day: Day) -> None:
    """How often each level occurs in each channel and band: a day's sketch, for the background."""
    from dasanom_assets.spectrograms.background import histograms_note
    from dasanom_assets.spectrograms.background import level_histograms as compute

    settings = day.settings.background
    day.write("level_histograms", compute(day, day.iso, settings), histograms_note(day, day.iso, settings))


@step("background", settings=BACKGROUND_SETTINGS, feedback=("anomaly_events",))
def background(day: Day) -> None:
    """Median and MAD per channel and band over the days before, without what was flagged there."""
    from dasanom_assets.spectrograms.background import background as compute

    day.write("background", *compute(day, day.iso, day.settings.background))


@step("common_levels", settings=("background",))
def common_levels(day: Day) -> None:
    """What all channels of a stretch share, second by second: wind and drift, which are no events."""
    from dasanom_assets.spectrograms.common_level import common_levels as compute

    day.write("common_levels", compute(day, day.iso, day.settings.background))
