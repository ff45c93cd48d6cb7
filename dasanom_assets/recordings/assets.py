"""Assets of the recordings stage: what was delivered, what is readable, how its channels are."""

from typing import Any

import dagster as dg

from dasanom_assets.recordings import steps
from dasanom_assets.settings import Settings
from dasanom_assets.tables.assets import step_asset
from dasanom_assets.tables.store import Store

GROUP = "recordings"
LISTED_FILES = 50
"""Files that the event of a day lists, at most."""


def build_assets(days: dg.PartitionsDefinition) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Return the assets of this stage, one partition a recording day."""
    raw_recordings = dg.AssetSpec(
        "raw_recordings",
        description="Files as delivered into `landing/<day>/`. dasanom only reads them; the sensor reports them.",
        group_name=GROUP,
        kinds={"file"},
        partitions_def=days,
    )
    recordings = step_asset(
        steps.recordings,
        days,
        group=GROUP,
        deps=[raw_recordings],
        kinds={"python", "parquet"},
        describe={"recordings": _files},
        descriptions={
            "recordings": steps.recordings.__doc__ or "",
            "fibres": "Where each channel of each fibre lies, m: the one place that tells metres.",
        },
        resources={"warn": lambda context: context.log.warning},
    )
    channel_health = step_asset(
        steps.channel_health,
        days,
        group=GROUP,
        deps=["recordings"],
        kinds={"python", "parquet"},
        describe={"channel_health": _states},
        resources={"warn": lambda context: context.log.warning},
        descriptions={
            "channel_health": "Seconds, level and state (ok, dead, saturated, noisy) of every channel of the day.",
            "clipped_seconds": "Where samples are at the limits of their type: such a second has no score.",
        },
    )
    return [raw_recordings, recordings, channel_health]


def _files(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    from dasanom_assets.recordings.of_day import recorded_hours

    recordings = store.read_day("recordings", day)
    table = recordings.to_pydict()
    refused = store.metadata("recordings", day)["refused"]
    decided = sorted({f"{fibre}: {by}" for fibre, by in zip(table["fibre"], table["fibre_from"], strict=True)})
    return {
        "hours": round(recorded_hours(recordings, day), 4),
        "fibres": sorted(set(table["fibre"])),
        "fibres_decided_by": decided[:LISTED_FILES],
        "refused": len(refused),
        "files": _file_list(table, refused),
    }


def _states(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    counts = store.read_day("channel_health", day, ["state"])["state"].value_counts().to_pylist()
    return {
        "bad_channels": sum(s["counts"] for s in counts if s["values"] != "ok"),
        "states": {s["values"]: s["counts"] for s in counts},
    }


def _file_list(table: dict[str, list[Any]], refused: list[list[str]]) -> dg.TableMetadataValue:
    """Return the day's files as a table, refused ones first: in Markdown, what a file says would be live."""
    columns = ("path", "fibre", "format", "start", "sampling_rate_hz", "n_channels", "issues")
    rows: list[dict[str, str | int | float]] = [
        {"file": path, "format": "refused", "remarks": reason} for path, reason in refused
    ]
    for path, fibre, kind, start, rate, channels, issues in zip(*(table[c] for c in columns), strict=True):
        rows.append(
            {
                "file": path,
                "format": kind,
                "remarks": "; ".join(issues or []),
                "fibre": fibre,
                "start": f"{start:%Y-%m-%d %H:%M:%S}",
                "rate (Hz)": rate,
                "channels": channels,
            }
        )
    if (more := len(rows) - LISTED_FILES) > 0:
        rows = [*rows[:LISTED_FILES], {"file": f"… and {more} more"}]
    names = ("file", "format", "fibre", "start", "rate (Hz)", "channels", "remarks")
    records = [dg.TableRecord({name: row.get(name, "") for name in names}) for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name, "any") for name in names])
    return dg.MetadataValue.table(records, schema)
