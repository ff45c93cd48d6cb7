"""Assets of the recordings stage: what was delivered, and what is readable."""

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
    return [raw_recordings, recordings]


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
