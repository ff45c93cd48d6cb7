"""Assets of the spectrograms stage: levels of every second and channel, and what is usual for them."""

from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import LoggedProgress, day_metadata, image
from dasanom_assets.tables.store import Store

GROUP = "spectrograms"


class RepresentationsConfig(dg.Config):
    """Which stretches `representations` shows; what is left empty is chosen."""

    fibre: str | None = Field(default=None, description="fibre; empty: that of the loudest event")
    channel: int | None = Field(default=None, description="channel; empty: that of the loudest event")
    event_start: str | None = Field(default=None, description="ISO 8601, UTC; empty: the loudest stretch")
    quiet_start: str | None = Field(default=None, description="ISO 8601, UTC; empty: the most usual stretch")
    seconds: int = Field(default=20, ge=1, description="length of each stretch at most, s")


def build_assets(days: dg.PartitionsDefinition, look_back_days: int) -> list[dg.AssetsDefinition]:
    """Return the assets of this stage, one partition a recording day."""

    @dg.asset(deps=["recordings"], partitions_def=days, group_name=GROUP, kinds={"python", "dask", "parquet"})
    def spectrograms(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        dask: dg.ResourceParam[Any],
    ) -> dg.MaterializeResult:
        """Levels of bands in dB: one row a second and channel, on a grid of UTC seconds."""
        from dasanom_assets.recordings.catalogue import adjoining
        from dasanom_assets.recordings.signal import stretches
        from dasanom_assets.spectrograms.engine import rows_expected, settings_note, spectrogram_parts, unfit
        from dasanom_assets.spectrograms.figures import day_thumbnail

        day = context.partition_key
        around = adjoining(store, day)
        signals = stretches(store, pa.concat_tables([store.read_day("recordings", day), around]))
        left_out = sorted({reason for s in signals if (reason := unfit(s, settings.spectrogram))})
        for reason in left_out:
            context.log.warning(f"left out: {reason}")
        signals = [s for s in signals if not unfit(s, settings.spectrogram)]
        note = settings_note(signals, settings.spectrogram) | {
            "left_out": left_out,
            "adjoining": around["path"].to_pylist(),
            "content_digest": store.metadata("recordings", day).get("content_digest"),
        }
        context.log.info(f"{len(dask.nthreads())} workers; their dashboard: {dask.dashboard_link}")
        total = rows_expected(signals, settings.spectrogram, day)
        with LoggedProgress(context.log.info, total, "channel-seconds") as progress:
            parts = spectrogram_parts(signals, settings.spectrogram, day, dask, progress.update)
            rows = store.write_day_parts("spectrograms", day, parts, note)
        picture = day_thumbnail(store, day)
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "spectrograms", day, rows),
                "channel_seconds": rows,
                "channel_seconds_per_second": round(progress.rate),
                "settings": note["settings"],
                "left_out": left_out,
                **({"picture": dg.MetadataValue.md(image(picture))} if picture else {}),
            }
        )

    @dg.asset(deps=[spectrograms], partitions_def=days, group_name=GROUP, kinds={"python", "parquet"})
    def level_histograms(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """How often each level occurs in each channel and band: a day's sketch, for the background."""
        from dasanom_assets.spectrograms.background import histograms_note
        from dasanom_assets.spectrograms.background import level_histograms as compute

        day = context.partition_key
        note = histograms_note(store, day, settings.background)
        rows = store.write_day("level_histograms", day, compute(store, day, settings.background), note)
        return dg.MaterializeResult(metadata=day_metadata(store, "level_histograms", day, rows))

    look_back = dg.TimeWindowPartitionMapping(
        start_offset=-look_back_days, end_offset=0, allow_nonexistent_upstream_partitions=True
    )

    @dg.asset(
        deps=[spectrograms, dg.AssetDep(level_histograms, partition_mapping=look_back)],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
    )
    def background(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Median and MAD per channel and band over the days before, without what was flagged there."""
        from dasanom_assets.spectrograms.background import background as compute
        from dasanom_assets.spectrograms.figures import background_thumbnail

        day = context.partition_key
        table, note = compute(store, day, settings.background)
        note["content_digest"] = store.metadata("spectrograms", day).get("content_digest")
        rows = store.write_day("background", day, table, note)
        picture = background_thumbnail(store, day)
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "background", day, rows),
                "reference_days": note["days"],
                "own_reference_channels": len(note["own_reference"]),
                "flagged_channel_seconds": sum(note["flagged"].values()),
                "channels_always_flagged": len(note["flagged_kept"]),
                "hour_classes": note["hour_classes"],
                **({"picture": dg.MetadataValue.md(image(picture))} if picture else {}),
            }
        )

    @dg.asset(
        deps=["channel_health", spectrograms, background],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
    )
    def common_levels(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """What all channels of a stretch share, second by second: wind and drift, which are no events."""
        from dasanom_assets.spectrograms.common_level import common_levels as compute

        day = context.partition_key
        rows = store.write_day("common_levels", day, compute(store, day, settings.background))
        return dg.MaterializeResult(metadata=day_metadata(store, "common_levels", day, rows))

    @dg.asset(
        deps=["recordings", "channel_health", spectrograms, background, common_levels],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python"},
    )
    def representations(
        context: dg.AssetExecutionContext,
        config: RepresentationsConfig,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        """One event and one quiet stretch of the day in every representation, in colour and grey; made by hand."""
        from dasanom_assets.spectrograms.representations import clock, compare, figure_png, thumbnail_png

        day = context.partition_key
        found = compare(store, day, settings.background, **config.model_dump())
        for reason in found.left_out:
            context.log.warning(f"left out: {reason}")
        url = store.write_bytes(f"reports/representations/day={day}/representations.png", figure_png(found))
        return dg.MaterializeResult(
            metadata={
                "dagster/uri": url,
                "figure": dg.MetadataValue.path(url),
                "fibre": found.choice.fibre,
                "channel": found.choice.channel,
                "event_start": clock(found.choice.event),
                "quiet_start": clock(found.choice.quiet),
                "seconds": found.choice.seconds,
                "shown": [one.name for one in found.shown],
                "left_out": found.left_out,
                "picture": dg.MetadataValue.md(image(thumbnail_png(found))),
            }
        )

    return [spectrograms, level_histograms, background, common_levels, representations]
