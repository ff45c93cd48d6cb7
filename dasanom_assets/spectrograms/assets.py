"""Assets of the spectrograms stage: levels of every second and channel, and what is usual for them."""

from typing import Any

import dagster as dg
from pydantic import Field

from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import steps
from dasanom_assets.tables.assets import step_asset
from dasanom_assets.tables.metadata import image
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
    kinds = {"python", "parquet"}
    look_back = dg.TimeWindowPartitionMapping(
        start_offset=-look_back_days, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    tables = [
        step_asset(
            steps.spectrograms,
            days,
            group=GROUP,
            deps=["recordings", "fibres"],
            kinds={*kinds, "dask"},
            describe={"spectrograms": _levels, "channel_health": _states},
            descriptions={
                "spectrograms": "Levels of bands in dB: one row a second and channel, on a grid of UTC seconds.",
                "channel_health": "Seconds, level and state (ok, dead, saturated, noisy) of every channel.",
                "clipped_seconds": "Where samples are at the limits of their type: such a second has no score.",
            },
            resources={
                "dask": lambda context: context.resources.dask(),
                "warn": lambda context: context.log.warning,
                "say": lambda context: context.log.info,
            },
        ),
        step_asset(
            steps.level_histograms,
            days,
            group=GROUP,
            deps=["spectrograms"],
            kinds=kinds,
            resources={"dask": lambda context: context.resources.dask()},
        ),
        step_asset(
            steps.background,
            days,
            group=GROUP,
            deps=["spectrograms", dg.AssetDep("level_histograms", partition_mapping=look_back)],
            kinds=kinds,
            describe={"background": _usual},
        ),
        step_asset(
            steps.common_levels,
            days,
            group=GROUP,
            deps=["channel_health", "spectrograms", "background"],
            kinds=kinds,
        ),
    ]

    @dg.asset(
        deps=["recordings", "fibres", "channel_health", "spectrograms", "background", "common_levels"],
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
        from dasanom_assets.spectrograms.representation_figures import clock, figure_png, thumbnail_png
        from dasanom_assets.spectrograms.representations import compare

        day = context.partition_key
        comparison = compare(store, day, settings.background, **config.model_dump())
        for reason in comparison.left_out:
            context.log.warning(f"left out: {reason}")
        url = store.write_bytes(f"reports/representations/day={day}/representations.png", figure_png(comparison))
        return dg.MaterializeResult(
            metadata={
                "dagster/uri": url,
                "figure": dg.MetadataValue.path(url),
                "fibre": comparison.choice.fibre,
                "channel": comparison.choice.channel,
                "event_start": clock(comparison.choice.event),
                "quiet_start": clock(comparison.choice.quiet),
                "seconds": comparison.choice.seconds,
                "shown": [representation.name for representation in comparison.shown],
                "left_out": comparison.left_out,
                "picture": dg.MetadataValue.md(image(thumbnail_png(comparison))),
            }
        )

    return [*tables, representations]


def _levels(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    from dasanom_assets.spectrograms.figures import day_thumbnail

    note = store.metadata("spectrograms", day)
    picture = day_thumbnail(store, day)
    return {
        "settings": note["settings"],
        "left_out": note["left_out"],
        **({"picture": dg.MetadataValue.md(image(picture))} if picture else {}),
    }


def _states(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    counts = store.read_day("channel_health", day, ["state"])["state"].value_counts().to_pylist()
    return {
        "bad_channels": sum(s["counts"] for s in counts if s["values"] != "ok"),
        "states": {s["values"]: s["counts"] for s in counts},
    }


def _usual(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    from dasanom_assets.spectrograms.figures import background_thumbnail

    note = store.metadata("background", day)
    picture = background_thumbnail(store, day)
    return {
        "reference_days": note["days"],
        "own_reference_channels": len(note["own_reference"]),
        "flagged_channel_seconds": sum(note["flagged"].values()),
        "channels_always_flagged": len(note["flagged_kept"]),
        "hour_classes": note["hour_classes"],
        **({"picture": dg.MetadataValue.md(image(picture))} if picture else {}),
    }
