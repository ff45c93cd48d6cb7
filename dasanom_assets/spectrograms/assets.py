"""Assets of the spectrograms stage: levels of every second and channel, and what is usual for them."""

import dagster as dg

from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import day_metadata, image
from dasanom_assets.tables.store import Store

GROUP = "spectrograms"


def build_assets(days: dg.PartitionsDefinition, look_back_days: int) -> list[dg.AssetsDefinition]:
    """Return the assets of this stage, one partition a recording day."""

    @dg.asset(deps=["recordings"], partitions_def=days, group_name=GROUP, kinds={"python", "parquet"})
    def spectrograms(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Mel levels in dB: one row a second and channel, on a grid of UTC seconds."""
        from tqdm import tqdm

        from dasanom_assets.recordings.signal import stretches
        from dasanom_assets.spectrograms.engine import settings_note, spectrogram_tables, too_slow
        from dasanom_assets.spectrograms.figures import day_thumbnail

        day = context.partition_key
        signals = stretches(store, store.read_day("recordings", day))
        left_out = [reason for s in signals if (reason := too_slow(s, settings.spectrogram))]
        for reason in left_out:
            context.log.warning(f"left out: {reason}")
        signals = [s for s in signals if not too_slow(s, settings.spectrogram)]
        note = settings_note(signals, settings.spectrogram) | {"left_out": left_out}
        total = sum(len(s.channels) * s.n_samples / s.sampling_rate_hz for s in signals)
        with tqdm(total=round(total), unit="channel-s", desc=f"spectrograms {day}", mininterval=2) as bar:
            tables = spectrogram_tables(signals, settings.spectrogram, day, progress=bar.update)
            rows = store.write_day("spectrograms", day, tables, note)
        picture = day_thumbnail(store, day)
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "spectrograms", day, rows),
                "channel_seconds": rows,
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
