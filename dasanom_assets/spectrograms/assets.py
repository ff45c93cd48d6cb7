"""Assets of the spectrograms stage: levels of every second and channel, and what is usual for them."""

from typing import Any

import dagster as dg
import pyarrow as pa

from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import LoggedProgress, day_metadata, image
from dasanom_assets.tables.store import Store

GROUP = "spectrograms"


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

    look_back = dg.TimeWindowPartitionMapping(
        start_offset=-look_back_days, end_offset=0, allow_nonexistent_upstream_partitions=True
    )

    @dg.asset(
        deps=[dg.AssetDep(spectrograms, partition_mapping=look_back)],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
    )
    def background(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Median and MAD per channel and band over the days before; the first day is its own reference."""
        from dasanom_assets.spectrograms.background import background as compute

        day = context.partition_key
        table, note = compute(store, day, settings.background)
        rows = store.write_day("background", day, table, note)
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "background", day, rows),
                "reference_days": note["days"],
                "own_reference_channels": len(note["own_reference"]),
            }
        )

    return [spectrograms, background]
