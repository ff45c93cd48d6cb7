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
        "files": dg.MetadataValue.md(_file_list(table, refused)),
    }


def _file_list(table: dict[str, list[Any]], refused: list[list[str]]) -> str:
    """Return the day's files as a Markdown table, refused ones first."""
    rows = [f"| {path} | refused | | | | | {reason.replace('|', '/')} |" for path, reason in refused]
    columns = ("path", "fibre", "format", "start", "sampling_rate_hz", "n_channels", "issues")
    for path, fibre, kind, start, rate, channels, issues in zip(*(table[c] for c in columns), strict=True):
        name, remarks = (text.replace("|", "/") for text in (fibre, "; ".join(issues or [])))
        rows.append(
            f"| {path} | {name} | {kind} | {start:%Y-%m-%d %H:%M:%S} | {rate:g} | {channels} | {remarks} |"
        )
    more = len(rows) - LISTED_FILES
    head = ["| file | fibre | format | start | rate (Hz) | channels | remarks |", "|---" * 7 + "|"]
    return "\n".join(head + rows[:LISTED_FILES] + [f"| … and {more} more | | | | | | |"] * (more > 0))
