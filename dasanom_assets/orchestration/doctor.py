"""What is misconfigured or missing on a machine, and how to put it right."""

import fcntl
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.retention import left_over
from dasanom_assets.recordings.landing import ahead, landing_days, landing_files, misplaced
from dasanom_assets.recordings.listing import why_closed
from dasanom_assets.recordings.reasons import INSTALL, READERS
from dasanom_assets.recordings.site_rules import SitesError, read_sites
from dasanom_assets.settings import Settings, unknown_variables
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.store import Store

RUN_LOCK = ".dasanom-run.lock"
"""In DAGSTER_HOME: held by a `dasanom run`, so that there is one at a time."""
LEAST_FREE_BYTES = 2 << 30
"""What should be free where the data root lies: a day is written beside the old one."""
RULED_DAYS = 7
"""Newest days in which a rule of `sites.toml` should have a file."""
MAX_FILES = 2_000
"""Newest files of landing/ that are opened, at most."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and what puts it right."""

    problem: str
    remedy: str


def examine(port: int, environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Yield what is wrong with the settings, the machine and the data root.

    Parameters
    ----------
    port : int
        That the UI would take.
    environment : mapping, optional
        Variables; those of the process by default.
    """
    variables = os.environ if environment is None else environment
    yield from _home(variables)
    for name, nearest in unknown_variables(variables).items():
        remedy = f": rename it to {nearest}, or unset it" if nearest else ": unset it"
        yield Finding(f"{name} is no setting", f"docs/reference.md lists all{remedy}")
    yield from _port(port, variables)
    try:
        settings = Settings()
    except ValidationError as error:
        for wrong in error.errors():
            if "no setting" in wrong["msg"]:
                continue
            name = "DASANOM_" + "__".join(str(part).upper() for part in wrong["loc"])
            message = wrong["msg"].removeprefix("Value error, ")
            yield Finding(f"{name}: {message} (it is {wrong['input']!r})", "change the variable, or unset it")
        return
    try:
        store = Store(settings.data)
    except (ValueError, ImportError) as error:
        yield Finding(
            f"the data root {settings.data.split('://')[0]}://… cannot be opened: {error}",
            "pip install what it names, or set DASANOM_DATA",
        )
        return
    for check in (_sites, _landing, _clock, _readers, _disk, _leftovers, _model):
        yield from check(store, settings)


def _home(variables: Mapping[str, str]) -> Iterator[Finding]:
    home = variables.get("DAGSTER_HOME")
    if not home:
        yield Finding(
            "DAGSTER_HOME is not set: Dagster would forget its runs",
            "export DAGSTER_HOME=<absolute path of a folder that holds dagster.yaml>; make run and dasanom do it",
        )
    elif not Path(home).is_absolute() or not Path(home).is_dir():
        yield Finding(f"DAGSTER_HOME {home} is no folder by an absolute path", f"mkdir -p {home}, or change it")
    elif not (Path(home) / "dagster.yaml").exists():
        yield Finding(
            f"DAGSTER_HOME {home} has no dagster.yaml: telemetry would be on, and limits off",
            f"ln -s <project>/dagster.yaml {home}/dagster.yaml",
        )


def _port(port: int, variables: Mapping[str, str]) -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            if _running(variables):
                return
            remedy = f"stop the program that has it, or take another: dasanom run --port {port + 1}"
            yield Finding(f"port {port} of 127.0.0.1 is in use", remedy)


def _running(variables: Mapping[str, str]) -> bool:
    """Whether a `dasanom run` is at work in DAGSTER_HOME: then the port is taken as it should be."""
    lock = Path(variables.get("DAGSTER_HOME", "")) / RUN_LOCK
    if not lock.is_file():
        return False
    with open(lock) as held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _sites(store: Store, settings: Settings) -> Iterator[Finding]:
    try:
        rules = read_sites(store)
    except SitesError as error:
        yield Finding(str(error), "mend the rule: no day is ingested before; docs/engineers.md has an example")
        return
    fresh = Freshness(store, settings)
    days = [day for day in store.days("recordings")[-RULED_DAYS:] if not fresh.stale("recordings", day)]
    decided = {
        by for day in days for by in store.read_day("recordings", day, ["fibre_from"])["fibre_from"].to_pylist()
    }
    when = ", ".join(days)
    for number, rule in enumerate(rules if days else (), start=1):
        if f"rule {number} of sites.toml" not in decided:
            yield Finding(
                f"rule {number} of sites.toml, for the fibre {rule.fibre}, fits no file of {when} first",
                "mend its pattern, folder or attribute, move it before one that fits these files, or remove it",
            )


def _landing(store: Store, settings: Settings) -> Iterator[Finding]:
    if not store.is_local:
        return
    root = Path(store.full("landing"))
    if not root.exists() and not root.is_symlink():
        yield Finding(f"there is no {root}", f"mkdir -p {root}/<YYYY-MM-DD>, and put recordings there")
        return
    for thing in misplaced(store, settings.first_day):
        yield Finding(thing.problem, thing.remedy)
    files = [file for day in reversed(landing_days(store)) for file in landing_files(store, day)]
    for file in files[:MAX_FILES]:
        if problem := file["problem"] or _unreadable(Path(store.full(file["path"]))):
            yield Finding(f"{file['path']} cannot be read", problem)


def _unreadable(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            opened.read(1)
    except OSError as error:
        return why_closed(error)
    return ""


def _clock(store: Store, settings: Settings) -> Iterator[Finding]:
    now = time.time()
    for day in landing_days(store)[-7:]:
        if late := ahead(landing_files(store, day), now):
            last = max(late, key=lambda file: file["modified"])
            when = datetime.fromtimestamp(last["modified"], UTC)
            yield Finding(
                f"{last['path']} changed on {when:%Y-%m-%d at %H:%M} UTC, in the future: one clock is ahead",
                "set the clocks by NTP; until then the sensor cannot tell that the day is still being delivered",
            )


def _readers(store: Store, settings: Settings) -> Iterator[Finding]:
    endings = {
        Path(file["path"]).suffix.lower() for day in landing_days(store)[-7:] for file in landing_files(store, day)
    }
    for module, suffixes in READERS.items():
        if endings & set(suffixes) and importlib.util.find_spec(module) is None:
            yield Finding(
                f"landing/ holds {', '.join(suffixes)}, and no {module} to read it", INSTALL.format(module)
            )


def _disk(store: Store, settings: Settings) -> Iterator[Finding]:
    if not store.is_local:
        return
    folder = Path(store.full(""))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            f"{free / 1e9:.2g} GB are free where {folder} lies, less than {LEAST_FREE_BYTES / 1e9:.2g}",
            "free some, or move the data root and set DASANOM_DATA",
        )


def _leftovers(store: Store, settings: Settings) -> Iterator[Finding]:
    for partial in left_over(store, time.time(), 0):
        path = store.full(partial.path)
        yield Finding(f"{path} was left by a writer that was killed", f"rm {path}, or materialize retention")


def _model(store: Store, settings: Settings) -> Iterator[Finding]:
    version = checkpoints.live(store, "reference_model")
    if version is None:
        if store.days("background"):
            yield Finding("there is no live model: no day can be scored", "run the job train, or dasanom train")
        return
    try:
        _, description = checkpoints.load(store, "reference_model", version)
    except checkpoints.CheckpointError as error:
        yield Finding(str(error), "go back to another: materialize live_model with its version, or dasanom train")
        return
    for section in ("window", "background", "reference"):
        now = getattr(settings, section).model_dump(mode="json")
        for name, value in description["settings"][section].items():
            if now.get(name) != value:
                yield Finding(
                    f"the live model was made with {section}.{name} {value}, which is {now.get(name)} now",
                    f"DASANOM_{section.upper()}__{name.upper()}={value}, or dasanom train",
                )
