"""Steps of the recordings stage, each defined once: assets, benchmarks, tests and notebooks call these."""

from collections.abc import Callable

from dasanom_assets.recordings.landing import delivered, landing_digest, recordings_notes, shifted
from dasanom_assets.recordings.site_rules import sites_digest
from dasanom_assets.tables.provenance import Day, step, warning
from dasanom_assets.tables.store import Store


def files_in_landing(store: Store, models: Store, day: str) -> dict[str, str | None]:
    """Return digests of names, sizes and times of the files that a day is made of, and of the rules of the site.

    That of files is None where there are none.
    """
    files = delivered(store, day, recordings_notes(store, [shifted(day, -1)]))
    return {
        f"the digest of the files in landing/{day}": landing_digest(files)[:12] if files else None,
        "the digest of sites.toml": sites_digest(store),
    }


@step("recordings", "fibres", settings=("limits",), inputs=files_in_landing, code="5")
def recordings(day: Day, warn: Callable[[str], object] = warning) -> None:
    """Catalogue of the day's readable files; refused ones go to `quarantine/` with a reason."""
    from dasanom_assets.recordings.catalogue import catalogue_day, past_midnight
    from dasanom_assets.recordings.quarantine import write_quarantine

    catalogue = catalogue_day(day, day.iso, day.settings.limits)
    for sentence in write_quarantine(day, day.iso, catalogue.refused):
        warn(sentence)
    for refusal in catalogue.refused:
        warn(f"refused {refusal.path}: {refusal.reason}")
    note = {
        "past_midnight": past_midnight(catalogue.recordings, day.iso),
        "refused": [[refusal.path, refusal.reason] for refusal in catalogue.refused],
    }
    day.write("fibres", catalogue.fibres)
    day.write("recordings", catalogue.recordings, note)
