"""The rules of a site: which files are which fibre's, and what their makers do not say of them."""

import fnmatch
import hashlib
import os
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dasanom_assets.tables.store import Store

SITES = "sites.toml"
"""In the data root; each of its tables ``[[site]]`` is a rule, and the first that fits a file counts."""

MOST_ROWS_PER_SECOND = 1000.0
"""Of the contractor's files; more would be a slip."""


class SitesError(ValueError):
    """`sites.toml` cannot be understood; the message says which rule, and what is wrong with it."""


class Site(BaseModel):
    """One rule. A file must fit all of `pattern`, `folder` and `attribute` that are given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fibre: str = Field(min_length=1, description="name of the fibre")
    pattern: str | None = Field(
        None, description="of the file's name, or of its path below the day's folder, with * and ?"
    )
    folder: str | None = Field(None, description="a folder between the day's and the file")
    attribute: dict[str, str | int | float] = Field(
        default_factory=dict,
        description="what the format or the sidecar says, as station, network, instrument_id",
    )
    channel_offset: int = Field(0, ge=-(10**9), le=10**9, description="added to the channel numbers")
    spacing_m: float | None = Field(None, gt=0, description="from one channel to the next, m")
    distance_unit: Literal["m", "km", "ft"] | None = Field(None, description="in which a file's distances are")
    time_zone: str = Field("UTC", description="of times in the names of bundles")
    unit: str | None = Field(None, description="of the samples")
    rows_per_second: float | None = Field(
        None, gt=0, le=MOST_ROWS_PER_SECOND, description="in the contractor's files beside it"
    )
    lag_rows: int | None = Field(None, ge=0, description="by which the contractor's probabilities lag its power")

    @field_validator("fibre")
    @classmethod
    def _named(cls, name: str) -> str:
        if not composed(name):
            raise ValueError("is blank; give the fibre a name")
        return name

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{name!r} is no time zone, as Europe/Istanbul is one") from error
        return name

    def fits(self, below_day: str, attributes: Mapping[str, Any]) -> bool:
        """Whether the rule is about a file.

        Parameters
        ----------
        below_day : str
            Path of the file below the folder of its day.
        attributes : mapping
            What the format or the sidecar says.
        """
        path = PurePosixPath(composed(below_day))
        if self.pattern is not None:
            pattern = composed(self.pattern)
            if not any(fnmatch.fnmatchcase(text, pattern) for text in (path.name, str(path))):
                return False
        if self.folder is not None and f"/{composed(self.folder).strip('/')}/" not in f"/{path.parent}/":
            return False
        return all(
            name in attributes and composed(str(attributes[name])) == composed(str(value))
            for name, value in self.attribute.items()
        )


def read_sites(store: Store) -> tuple[Site, ...]:
    """Return the rules in `sites.toml`, none where it is missing.

    Raises
    ------
    SitesError
        Where it cannot be read, is no TOML, or a rule has a key or a value that cannot be.
    """
    text = _text(store)
    if text is None:
        return ()
    try:
        content = tomllib.loads(text.decode("utf-8-sig"))
    except ValueError as error:
        raise SitesError(f"{SITES} in the data root is not TOML: {error}") from error
    if unknown := sorted(set(content) - {"site"}):
        raise SitesError(f"{SITES} in the data root has {', '.join(unknown)}; it may have rules [[site]] only")
    rules: list[Site] = []
    given = content.get("site", [])
    if not isinstance(given, list):
        raise SitesError(f"{SITES} in the data root: site must be a list of rules, each under [[site]]")
    for number, rule in enumerate(given, start=1):
        try:
            rules.append(Site.model_validate(rule))
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SitesError(f"rule {number} in {SITES} in the data root: {reasons}") from error
    return tuple(rules)


def sites_digest(store: Store) -> str:
    """Return a digest of `sites.toml`, and in words that there is none, or that it cannot be read."""
    try:
        text = _text(store)
    except SitesError:
        return "that of no readable file"
    return "that of no file" if text is None else hashlib.sha256(text).hexdigest()[:12]


def _text(store: Store) -> bytes | None:
    """Return what `sites.toml` holds, None where it is missing; raises `SitesError`."""
    full = store.full(SITES)
    if store.is_local and os.path.lexists(full) and not os.path.isfile(full):  # a pipe would never end
        raise SitesError(f"{SITES} in the data root is no file, or a link to none: replace or remove it")
    if not store.exists(SITES):
        return None
    try:
        return store.read_bytes(SITES)
    except OSError as error:
        raise SitesError(f"{SITES} in the data root cannot be read: {error.strerror or error}") from error


def rule_for(
    rules: Sequence[Site], below_day: str, attributes: Mapping[str, Any]
) -> tuple[int, Site] | tuple[None, None]:
    """Return number, from 1, and rule for a file, see `Site.fits`; None twice where there is none."""
    for number, rule in enumerate(rules, start=1):
        if rule.fits(below_day, attributes):
            return number, rule
    return None, None


def composed(text: str) -> str:
    """Return a name with its letters composed (Unicode NFC), trimmed, and each run of spaces as one.

    Names that look alike are one: `é` may be one character, or an `e` and its accent. What is not seen, as a
    control character, is no part of a name.
    """
    words = " ".join(unicodedata.normalize("NFC", text).split())
    return words if words.isprintable() else "".join(c for c in words if c.isprintable()).strip()


def in_utc(local_ns: int, time_zone: str) -> int:
    """Return the time at which clocks of a zone show a time, both as ns since 1970; of two, the first."""
    seconds, ns = divmod(local_ns, 1_000_000_000)
    shown = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return int(shown.replace(tzinfo=ZoneInfo(time_zone)).timestamp()) * 1_000_000_000 + ns


def unsure(local_ns: int, time_zone: str) -> str | None:
    """Say where clocks of a zone show a time twice, or never, since they are set on or back; else None."""
    shown = datetime(1970, 1, 1) + timedelta(seconds=local_ns // 1_000_000_000)
    before, after = (
        shown.replace(tzinfo=ZoneInfo(time_zone), fold=fold).utcoffset() or timedelta() for fold in (0, 1)
    )
    if before == after:
        return None
    how = "twice, and the first is taken" if before > after else "never, and that before they were set on is taken"
    return f"clocks of {time_zone} show {shown:%Y-%m-%d %H:%M:%S} {how}: give start_time in the sidecar"
