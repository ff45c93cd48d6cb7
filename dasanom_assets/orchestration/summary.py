"""What was found, in a few lines of text."""

from dasanom_assets.comparison.steps import REPORTS
from dasanom_assets.orchestration.checks import flagged_windows
from dasanom_assets.tables.store import Store

COLUMNS = ("day", "windows", "flagged", "our events", "contractor's", "both", "only us", "only contractor")


def summary(store: Store) -> str:
    """Return a table of the days that have been compared, and where their reports are."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    reports = []
    for day in store.days("event_matches"):
        windows = flagged_windows(store, day)
        counts = store.read_day("event_matches", day, ["agreement"])["agreement"].to_pylist()
        sides = [
            store.read_day(name, day, ["event_id"]).num_rows for name in ("anomaly_events", "contractor_events")
        ]
        numbers = [*windows, *sides]
        numbers += [counts.count(name) for name in ("both", "only_us", "only_contractor")]
        rows.append((day, *(f"{n:,}" for n in numbers)))
        reports += [f["path"] for f in store.listing(f"{REPORTS}/day={day}") if ".html" in f["path"]]
    if len(rows) == 1:
        return "No day has been compared yet."
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(["Found:", *lines, "", "Reports:", *(f"  {store.url(path)}" for path in reports)])
