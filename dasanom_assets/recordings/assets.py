"""Assets of the recordings stage: what was delivered, what is readable, how its channels are."""

from collections.abc import Iterator

import dagster as dg

from dasanom_assets.recordings.landing import delivered, landing_digest, recordings_notes, shifted
from dasanom_assets.tables.metadata import day_metadata
from dasanom_assets.tables.store import Store

GROUP = "recordings"


def build_assets(days: dg.PartitionsDefinition) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Return the assets of this stage, one partition a recording day."""
    raw_recordings = dg.AssetSpec(
        "raw_recordings",
        description="Files as delivered into `landing/<day>/`. dasanom only reads them; the sensor reports them.",
        group_name=GROUP,
        kinds={"file"},
        partitions_def=days,
    )

    @dg.asset(deps=[raw_recordings], partitions_def=days, group_name=GROUP, kinds={"python", "parquet"})
    def recordings(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Catalogue of the day's readable files; refused ones go to `quarantine/` with a reason."""
        from dasanom_assets.recordings.catalogue import (
            catalogue_day,
            content_digest,
            past_midnight,
            write_quarantine,
        )

        day = context.partition_key
        digest = landing_digest(delivered(store, day, recordings_notes(store, [shifted(day, -1)])))
        found = catalogue_day(store, day)
        write_quarantine(store, day, found.refused)
        note = {
            "landing_digest": digest,
            "content_digest": content_digest(found.recordings),
            "past_midnight": past_midnight(found.recordings, day),
        }
        rows = store.write_day("recordings", day, found.recordings, note)
        for refusal in found.refused:
            context.log.warning(f"refused {refusal.path}: {refusal.reason}")
        table = found.recordings.to_pydict()
        hours = sum(n / r for n, r in zip(table["n_samples"], table["sampling_rate_hz"], strict=True)) / 3600
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "recordings", day, rows),
                "hours": round(hours, 4),
                "fibres": sorted(set(table["fibre"])),
                "refused": len(found.refused),
                "files": dg.MetadataValue.md(_file_list(table, found.refused)),
            }
        )

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                "channel_health",
                deps=[recordings],
                description="Seconds, level and state (ok, dead, saturated, noisy) of every channel of the day.",
                kinds={"python", "parquet"},
            ),
            dg.AssetSpec(
                "clipped_seconds",
                deps=[recordings],
                description="Where samples are at the limits of their type: such a second has no score.",
                kinds={"python", "parquet"},
            ),
        ],
        partitions_def=days,
        group_name=GROUP,
        name="channel_health",
    )
    def channel_health(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]
    ) -> Iterator[dg.MaterializeResult]:
        from dasanom_assets.recordings import health
        from dasanom_assets.recordings.signal import stretches

        day = context.partition_key
        table, clipped = health.channel_health(stretches(store, store.read_day("recordings", day)))
        rows = store.write_day("clipped_seconds", day, clipped)
        yield dg.MaterializeResult("clipped_seconds", metadata=day_metadata(store, "clipped_seconds", day, rows))
        rows = store.write_day("channel_health", day, table)
        states = table["state"].value_counts().to_pylist()
        yield dg.MaterializeResult(
            "channel_health",
            metadata={
                **day_metadata(store, "channel_health", day, rows),
                "bad_channels": sum(s["counts"] for s in states if s["values"] != "ok"),
                "states": {s["values"]: s["counts"] for s in states},
            },
        )

    return [raw_recordings, recordings, channel_health]


def _file_list(table: dict, refused: list) -> str:
    """Return the day's files as a Markdown table, refused ones first, at most 50 rows."""
    lines = ["| file | format | start | rate (Hz) | channels | remarks |", "|---|---|---|---|---|---|"]
    lines += [f"| {r.path} | refused | | | | {r.reason.replace('|', '/')} |" for r in refused]
    columns = ("path", "format", "start", "sampling_rate_hz", "n_channels", "issues")
    for path, kind, start, rate, channels, issues in zip(*(table[c] for c in columns), strict=True):
        remarks = "; ".join(issues or []).replace("|", "/")
        lines.append(f"| {path} | {kind} | {start:%Y-%m-%d %H:%M:%S} | {rate:g} | {channels} | {remarks} |")
    more = len(lines) - 52
    return "\n".join(lines[:52] + ([f"| … and {more} more | | | | | |"] if more > 0 else []))
