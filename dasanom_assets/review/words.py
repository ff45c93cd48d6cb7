"""A row in words."""

from typing import Any


def reason(row: dict[str, Any], both_sides: bool) -> str:
    """Say why a row is told: how rare, how long and wide, where in the spectrum, and who else says so."""
    parts = []
    if row["often"]:
        parts.append(f"{row['often']} a km and day" if row["often"][0].isdigit() else row["often"])
    size = f"{row['seconds']:.1f} s" if row["seconds"] < 120 else f"{row['seconds'] / 60:.1f} min"
    channels = row["last"] - row["first"] + 1
    parts.append(f"{size} on {channels} channel{'' if channels == 1 else 's'}")
    if row["hz"]:
        low, high = min(row["hz"]), max(row["hz"])
        parts.append(
            f"strongest at {low:.0f} Hz" if high - low < 1 else f"strongest at {low:.0f} to {high:.0f} Hz"
        )
    if row["cells"]:
        n = row["alarms"]
        parts = [f"{n} single cell{'' if n == 1 else 's'} of the contractor, at most {row['probability']:.2f}"]
    elif row["agreement"] == "both":
        parts.append(f"the contractor agrees: {row['class']} {row['probability']:.2f}")
    elif row["agreement"] == "only_contractor":
        parts.append(f"the contractor alone: {row['class']} {row['probability']:.2f}")
        if row["below"]:
            parts.append("what we have there lies below our threshold")
    elif row["agreement"] == "below":
        parts.append("below our threshold: no alarm")
    elif both_sides:
        parts.append("no alarm of the contractor fits")
    if row["alarms"] > 1 and not row["cells"]:
        parts.append(f"{row['alarms']} alarms in one")
    if row["planned"]:
        parts.append(f"planned: {row['planned']}")
    elif row["dig"]:
        parts.append("no planned work here")
    if row["always"]:
        parts.append(f"this place alarms on {row['always']}")
    if row["memory"]:
        parts.append(f"judged a nuisance here: {row['memory']}")
    return "; ".join(parts)
