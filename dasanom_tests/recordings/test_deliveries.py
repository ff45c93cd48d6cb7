"""Deliveries drawn at random, beside a plain model of what should come out of them.

A fibre is a grid of samples, and each sample tells its channel and its place. A file is a window of the grid, set
down where its clock says. The model is told what was delivered and uses no code of the product.

It is one file of more than 350 lines: what draws deliveries and the model of them are read side by side.
"""

import hashlib
import json
import os
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dascore as dc
import numpy as np
import pyarrow as pa
import pytest
from dascore.core import get_coord
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.catalogue import Catalogue, adjoining, catalogue_day, past_midnight
from dasanom_assets.recordings.of_day import of_day
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.tables.store import Store

CASES = int(os.environ.get("DASANOM_CASES", "500"))
SEED = 2026
DAYS = ("2026-01-05", "2026-01-06")
SECOND = 1_000_000_000
MIDNIGHTS = [int(np.datetime64(day, "ns").astype(np.int64)) for day in (*DAYS, "2026-01-07")]
MOST_SAMPLES = 1000
"""Of a channel, so that int16 tells channel and place."""

NAMES = ("north", "line_A", "line_B", "café ağı", "box7")
NAMINGS = ("sidecar", "folder", "name", "rule", "time")
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: name.replace(" ", "  "),
)
STAMPS = ("%Y%m%dT%H%M%S", "%Y-%m-%dT%H-%M-%S", "%Y%m%d_%H%M%S", "%Y%m%d%H%M%S")
ENDS = ("_{:03d}", "-{:d}", " ({:d})", "_{:d}_copy")
HEADS = ("{}", "{}", "{}", "{}_raw", "Copy of {}", "{}_100Hz")
RATES = (4.0, 10.0, 100.0, 250.0, 1000.0, 1000.0003, 1050.0, 2000.0, 3000.0, 3217.8)
SAMPLE_TYPES = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}
ANY_FAULT = ("empty", "cut", "foreign", "link", "temperature", "other day")
BUNDLE_FAULTS = (*ANY_FAULT, "no sidecar", "no samples", "odd sidecar", "sidecar link", "zone", "count", "rate")


@dataclass(frozen=True)
class Fibre:
    """A line: all its samples lie at ``start_ns + slot / rate``.

    Names of its files begin with `head`. They say that the rate is `said`. A rule of the site adds `offset` to the
    channels that they say, and takes times of names for those of `time_zone`.
    """

    name: str
    naming: str
    number: int
    zones: tuple[tuple[int, int], ...]
    rate: float
    spacing: float | None
    start_ns: int
    head: str
    said: float
    offset: int = 0
    time_zone: str = "UTC"

    @property
    def channels(self) -> np.ndarray:
        return np.concatenate([np.arange(first, last + 1) for first, last in self.zones])

    def time(self, slot: float) -> int:
        return self.start_ns + round(slot * 1e9 / self.rate)


@dataclass(frozen=True)
class File:
    """Every `step`-th sample from `first` on, said to begin at `slot`; `named`: in the name only."""

    fibre: Fibre
    path: str
    first: int
    n: int
    slot: float
    zones: tuple[tuple[int, int], ...]
    sample_type: str
    step: int = 1
    fault: str = ""
    named: bool = False
    once: bool = False
    """Whether samples hold a channel of overlapping zones once."""
    falling: bool = False
    """Whether the last channel is its first."""
    style: int = 0
    """Of the sidecar."""

    @property
    def start(self) -> int:
        return self.fibre.time(self.slot)

    @property
    def rate(self) -> float:
        return self.fibre.said / self.step

    @property
    def end(self) -> int:
        return self.start + round(self.n * 1e9 / self.rate)

    @property
    def channels(self) -> np.ndarray:
        channels = np.concatenate([np.arange(first, last + 1) for first, last in self.zones])
        return np.unique(channels) if self.once else channels[::-1] if self.falling else channels

    @property
    def refused(self) -> str:
        """The path that is refused, where it has a fault."""
        return self.path + ".info" * (self.fault == "no samples")

    def samples(self) -> np.ndarray:
        columns = np.searchsorted(np.unique(self.fibre.channels), self.channels)
        places = self.first + self.step * np.arange(self.n)
        return (self.fibre.number * 8 + columns) * 1024 + places[:, None]


@dataclass(frozen=True)
class Delivery:
    files: tuple[File, ...]
    unfinished: tuple[str, ...]


@st.composite
def fibres(draw: st.DrawFn, number: int, name: str, naming: str) -> Fibre:
    offset = draw(st.sampled_from([0, 5, -1000])) if naming == "rule" else 0
    channel = draw(st.sampled_from([5, 7, 4000])) if offset > 0 else draw(st.sampled_from([0, 7, 4000]))
    zones: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(1, 3))):
        length = draw(st.integers(1, 2))
        zones.append((channel, channel + length - 1))
        channel += length + draw(st.integers(0, 3))
    near = draw(st.sampled_from([10 * 3600, 10 * 3600, 0, 86_400]))
    before = draw(st.integers(0, MOST_SAMPLES // 2)) if near == 86_400 else 0
    rate = draw(st.sampled_from(RATES))
    late = draw(st.sampled_from([0, 0, 123_456_789, 1]))
    heads = {"sidecar": "rec", "folder": draw(st.sampled_from(["", "das"])), "name": name, "rule": f"unit{number}"}
    return Fibre(
        name=name,
        naming=naming,
        number=number,
        zones=tuple(zones),
        rate=rate,
        spacing=draw(st.sampled_from([None, 2.0, 1.0209523])),
        start_ns=MIDNIGHTS[0] + near * SECOND + late - round(before * 1e9 / rate),
        head=heads.get(naming, ""),
        said=rate * draw(st.sampled_from([1, 1, 1, 1 + 2e-4, 1 - 2e-4, 1 + 3e-7])),
        offset=offset,
        time_zone=draw(st.sampled_from(["UTC", "Europe/Istanbul"])) if naming == "rule" else "UTC",
    )


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
    files: list[File] = []
    formats = draw(st.sampled_from(["bundles"] * 9 + ["both"]))
    for number, name in enumerate(names):
        naming = draw(st.sampled_from(NAMINGS if number == 0 else NAMINGS[:4]))
        fibre = draw(fibres(number, "fibre" if naming == "time" else name, naming))
        files += draw(files_of(fibre, len(files), formats == "both" and number == 0))
    hidden = [f"landing/{DAYS[0]}/{name}" for name in (".hidden.bin", "north_20260105T100000.h5.partial")]
    return Delivery(tuple(files), tuple(draw(st.sampled_from([[], hidden]))))


@st.composite
def files_of(draw: st.DrawFn, fibre: Fibre, count: int, hdf5: bool) -> list[File]:
    files: list[File] = []
    at, n_hdf5 = 0, 0
    usual = draw(st.sampled_from(list(SAMPLE_TYPES)))
    for _ in range(draw(st.integers(1, 6))):
        n = draw(st.integers(4, 60))
        at += draw(st.sampled_from([0, 0, 0, 1, 37, -1, -n // 3, -at // 2 if n % 5 == 0 else 0]))
        at = max(0, at)
        shift = draw(st.sampled_from([0.0] * 12 + [0.2, -0.2, 0.2, -0.2, 20.0, -20.0, -1.0]))
        zones = draw(st.sampled_from([fibre.zones] * 4 + [(zone,) for zone in fibre.zones]))
        is_hdf5 = hdf5 and n_hdf5 < 2 and draw(st.booleans())
        fault = draw(st.sampled_from([""] * 40 + list(ANY_FAULT if is_hdf5 else BUNDLE_FAULTS)))
        sample_type = draw(st.sampled_from(list(SAMPLE_TYPES))) if draw(st.sampled_from([0] * 4 + [1])) else usual
        file = File(fibre, "", at, n, at + shift, zones, sample_type, fault=fault, style=draw(st.integers(0, 7)))
        if is_hdf5:
            n_hdf5 += 1
            file = replace(file, falling=draw(st.sampled_from([False, False, True])))
        elif draw(st.sampled_from([False] * 7 + [True])):
            file = replace(file, zones=(*zones, zones[0]), once=draw(st.booleans()))
        named = file.start % SECOND == 0 and fault != "other day"
        again = (
            draw(st.sampled_from(["", "", "", "", "", "copy", "backup", "decimated", "converted"]))
            if not fault
            else ""
        )
        copies = [replace(file, named=named and not is_hdf5)]
        if again == "copy":
            copies *= 2
        elif again == "decimated" and not is_hdf5:
            copies.append(replace(file, n=(n + 1) // 2, step=2))
        elif again == "converted" and hdf5:
            copies.append(replace(file, zones=zones, once=False, falling=False))
        for copy in copies:
            ending = "h5" if is_hdf5 or (again == "converted" and copy is copies[-1] and hdf5) else "bin"
            files.append(replace(copy, path=draw(paths(copy, count + len(files), len(files), ending))))
        if again == "backup" and (folder := _beside(files[-1].path)):
            files.append(replace(files[-1], path=folder))
        at += n
    return files


@st.composite
def paths(draw: st.DrawFn, file: File, counter: int, of_fibre: int, ending: str) -> str:
    """Draw a name that says whose the file is as its fibre's naming does."""
    fibre = file.fibre
    if file.named:
        local = file.start + (3 * 3600 * SECOND if fibre.time_zone != "UTC" else 0)
        stamp = _utc(local).strftime(STAMPS[0])
    else:
        off = draw(st.sampled_from([0, 0, 0, 0, 3, -24])) * 3600 * SECOND
        stamp = _utc(file.start + off).strftime(draw(st.sampled_from(STAMPS)))
    name = draw(st.sampled_from(SPELLINGS))(fibre.name)
    head = draw(st.sampled_from(HEADS)).format(name) if fibre.naming == "name" else fibre.head
    folders = [name] if fibre.naming == "folder" else []
    folders += draw(st.sampled_from([[], [], ["raw"], ["10"]]))
    between = draw(st.sampled_from(["_", "_", "-", " ", ""] if head.isalpha() else ["_"]))
    end = draw(st.sampled_from(ENDS)).format(of_fibre if fibre.naming == "folder" else counter)
    day = str(np.datetime64(file.start, "ns"))[:10]
    return "/".join(["landing", day, *folders, (between if head else "").join([head, stamp]) + f"{end}.{ending}"])


def _beside(path: str) -> str:
    """Return where a copy of a file of a day's own folder may lie; empty for one that lies deeper."""
    folder, name = os.path.split(path)
    return f"{folder}/backup/{name}" if folder.count("/") == 1 else ""


def _utc(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // SECOND)


def deliver(root: Path, delivery: Delivery) -> None:
    """Write the files of a delivery, faults and all, and the rules of the site."""
    ruled = {file.fibre for file in delivery.files if file.fibre.naming == "rule"}
    rules = (
        f'[[site]]\nfibre = "{fibre.name}"\npattern = "{fibre.head}_*"\nchannel_offset = {fibre.offset}\n'
        f'time_zone = "{fibre.time_zone}"\n'
        for fibre in ruled
    )
    (root / "sites.toml").write_text("".join(rules), encoding="utf-8")
    written: list[tuple[Path, File]] = []
    for file in delivery.files:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.fault == "link":
            path.symlink_to(root / "nowhere")
            continue
        if file.path.endswith(".bin"):
            _write_bundle(path, file)
        elif original := next((known for known, same in written if same == replace(file, path="")), None):
            shutil.copyfile(original, path)  # written anew, HDF5 would tell of another second
        else:
            _write_hdf5(path, file)
            written.append((path, replace(file, path="")))
        if file.fault == "empty":
            path.write_bytes(b"")
        elif file.fault == "cut":
            content = path.read_bytes()
            path.write_bytes(content[:-1] if path.suffix == ".bin" else content[: len(content) // 2])
        elif file.fault == "no samples":
            path.unlink()
        elif file.fault == "foreign" and path.suffix == ".h5":
            path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)))
    for unfinished in delivery.unfinished:
        path = root / unfinished
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half a fi")


def _write_bundle(path: Path, file: File) -> None:
    fibre = file.fibre
    path.write_bytes(file.samples().astype(SAMPLE_TYPES[file.sample_type]).tobytes())
    sidecar: dict[str, Any] = {
        "selected_channel_zones": [[first - fibre.offset, last - fibre.offset] for first, last in file.zones],
        "sampling_rate_hz": file.rate,
        "sample_format": file.sample_type,
        "channel_spacing_m": None if file.style == 1 else fibre.spacing,
    }
    if file.once:
        sidecar["number_of_channels_in_one_sample"] = len(file.channels)
    elif file.style > 4:
        sidecar["number_of_channels_in_one_sample"] = str(len(file.channels))
    if len(file.zones) == 1 and file.style % 2 and file.fault != "zone":
        sidecar["selected_channel_zones"] = sidecar["selected_channel_zones"][0]
    if fibre.naming in ("sidecar", "rule"):
        sidecar["fibre"] = fibre.name if fibre.naming == "sidecar" else "another"
    start = file.start - (5 * 86_400 * SECOND if file.fault == "other day" else 0)
    if not file.named:
        hours = 3 if file.style in (2, 3) else 0
        shown = _utc(start + hours * 3600 * SECOND)
        sidecar["start_time"] = f"{shown:%Y-%m-%dT%H:%M:%S}.{start % SECOND:09d}+{hours:02d}:00"
    if file.fault == "zone":
        sidecar["selected_channel_zones"][0].reverse()
        sidecar["selected_channel_zones"][0][0] += 1
    elif file.fault == "count":
        sidecar["number_of_channels_in_one_sample"] = len(file.channels) + 9
    elif file.fault == "rate":
        sidecar["sampling_rate_hz"] = 0
    elif file.fault == "temperature":
        sidecar["units"] = "degC"
    beside = path.with_name(path.name + ".info")
    if file.fault == "sidecar link":
        beside.symlink_to(path.parent / "nowhere")
    elif file.fault != "no sidecar":
        odd = file.fault in ("foreign", "odd sidecar")
        beside.write_bytes(b"\xff\xfe\x00?" if odd else _text(sidecar, file.style).encode())


def _text(sidecar: dict[str, Any], style: int) -> str:
    if style % 4 != 3:
        return json.dumps(sidecar)
    sign = "=" if style == 3 else ": "
    return "\n".join(f"{key}{sign}{json.dumps(value)}" for key, value in sidecar.items() if value is not None)


def _write_hdf5(path: Path, file: File) -> None:
    fibre, channels = file.fibre, file.channels - file.fibre.offset
    start = file.start - (5 * 86_400 * SECOND if file.fault == "other day" else 0)
    step = np.timedelta64(round(1e9 / file.rate), "ns")
    coords: dict[str, Any] = {
        "time": get_coord(start=np.datetime64(start, "ns"), step=step, shape=(file.n,)),
        "distance": get_coord(values=channels * (fibre.spacing or 1.0), units="m"),
    }
    if not fibre.spacing or len(channels) < 2 or (abs(np.diff(channels)) != 1).any():
        coords["channel"] = ("distance", channels)
    attrs = {"station": fibre.name} if fibre.naming == "sidecar" else {}
    if file.fault == "temperature":
        attrs["data_units"] = "degC"
    data = file.samples().astype(file.sample_type)
    dc.write(dc.Patch(data=data, coords=coords, dims=("time", "distance"), attrs=attrs), path, "dasdae")


Samples = dict[tuple[str, int], dict[int, int]]
"""By fibre and channel: what is at each slot of the fibre's grid."""


def expected(files: list[File]) -> tuple[Samples, dict[str, int], dict[str, int]]:
    """Return what is known at each place, and of how many samples each file is the source, and was.

    Of two files that tell of a sample, the one of the higher rate counts, or that which starts earlier, or sorts
    first.
    """
    known: Samples = defaultdict(dict)
    given: dict[str, int] = {}
    for file in sorted(files, key=lambda file: (file.step, file.start, file.path)):
        columns = dict(zip(file.channels.tolist(), file.samples().T.tolist(), strict=True))
        given[file.path] = 0
        for channel, values in columns.items():
            at = known[file.fibre.name, channel]
            places = [round(file.slot) + file.step * i for i in range(file.n)]
            if file.step > 1 and any(place in at for place in places):
                continue
            for place, value in zip(places, values, strict=True):
                if place not in at:
                    at[place] = value
                    given[file.path] += 1
    return known, given, {file.path: len(set(file.channels.tolist())) * file.n for file in files}


def found(store: Store, recordings: pa.Table, day: str, delivery: Delivery) -> Samples:
    """Return what the stretches of a day hold, each sample at the slot that its time is nearest to."""
    fibre_of = {file.fibre.name: file.fibre for file in delivery.files}
    told: Samples = defaultdict(dict)
    for stretch in of_day(stretches(store, recordings), day):
        fibre = fibre_of[stretch.fibre]
        times = stretch.start_ns - fibre.start_ns + np.arange(stretch.n_samples) * (1e9 / stretch.sampling_rate_hz)
        slots = np.rint(times * fibre.rate / 1e9).astype(int).tolist()
        values = stretch.read(0, stretch.n_samples)
        for channel, column in zip(stretch.channels.tolist(), values.T.tolist(), strict=True):
            at = told[stretch.fibre, channel]
            assert not at.keys() & set(slots), (stretch.fibre, channel, "twice")
            at.update(zip(slots, column, strict=True))
    return told


def inside(samples: Samples, day: int, delivery: Delivery) -> Samples:
    """Return the samples of a day that do not lie at midnight, where a clock may tell of either day."""
    fibre_of = {file.fibre.name: file.fibre for file in delivery.files}
    start, end = MIDNIGHTS[day], MIDNIGHTS[day + 1]
    kept: Samples = {}
    for (name, channel), at in samples.items():
        margin = 0.75e9 / fibre_of[name].rate
        within = {
            slot: value for slot, value in at.items() if start + margin < fibre_of[name].time(slot) < end - margin
        }
        if within:
            kept[name, channel] = within
    return kept


def hold_to_model(root: Path, delivery: Delivery, index: int, catalogue: Catalogue) -> None:
    day = DAYS[index]
    of_folder = [file for file in delivery.files if file.path.startswith(f"landing/{day}/")]
    day_before = str(np.datetime64(day) - 1)
    before = [file for file in delivery.files if file.path.startswith(f"landing/{day_before}/")]
    over = [file for file in before if not file.fault and file.end > MIDNIGHTS[index] + file.n]
    perhaps = {file.path for file in before if abs(file.end - MIDNIGHTS[index]) <= file.n}
    used = [file for file in of_folder if not file.fault] + over

    refused = {refusal.path: refusal for refusal in catalogue.refused}
    assert refused.keys() == {file.refused for file in of_folder if file.fault}
    assert len(refused) == len(catalogue.refused)
    for file in of_folder:
        if file.fault:
            assert refused[file.refused].reason
            assert bool(refused[file.refused].sha256) == (file.fault != "link")

    table = catalogue.recordings
    starts = dict(zip(table["path"].to_pylist(), table["start"].cast(pa.int64()).to_pylist(), strict=True))
    rows = {row["path"]: row for row in table.drop(["start", "end"]).to_pylist()}
    assert max(Counter(table["path"].to_pylist()).values(), default=1) == 1
    assert rows.keys() - perhaps == {file.path for file in used} - perhaps
    for file in used:
        row = rows[file.path]
        assert row["fibre"] == unicodedata.normalize("NFC", file.fibre.name), row
        assert starts[file.path] == file.start
        assert abs(row["sampling_rate_hz"] / file.rate - 1) < 1e-4
        assert (row["n_samples"], row["n_channels"]) == (file.n, len(np.unique(file.channels)))
        assert row["first_channel"] == file.channels.min()
        assert row["sha256"] == hashlib.sha256((root / file.path).read_bytes()).hexdigest()
    crossing = {file.path for file in used if file.end > MIDNIGHTS[index + 1] + file.n}
    late = {file.path for file in used if abs(file.end - MIDNIGHTS[index + 1]) <= file.n}
    assert set(past_midnight(table, day)) - late == crossing

    samples, given, held = expected(used)
    for file in used:
        issues = " ".join(rows[file.path]["issues"])
        assert ("not used: " in issues) == (given[file.path] == 0), (file, issues)
        lost = 0 < given[file.path] < held[file.path]
        assert ("overlaps " in issues) == lost, (file, issues)
    wanted = inside(samples, index, delivery)
    got = inside(found(Store(str(root)), table, day, delivery), index, delivery)
    assert got == wanted, _differing(got, wanted)


def hold_neighbours_to_model(store: Store, delivery: Delivery, index: int) -> None:
    """Files within a second of a day, and not of it, are its neighbours."""
    start, end = MIDNIGHTS[index], MIDNIGHTS[index + 1]
    whole = [file for file in delivery.files if not file.fault]
    near = {f.path for f in whole if start - SECOND < f.end <= start or end <= f.start < end + SECOND}
    edges = (start - SECOND, start)
    perhaps = {file.path for file in whole if any(abs(file.end - edge) <= file.n for edge in edges)}
    assert set(adjoining(store, DAYS[index])["path"].to_pylist()) - perhaps == near - perhaps


def _differing(got: Samples, wanted: Samples) -> dict[tuple[str, int], tuple[dict[int, int], dict[int, int]]]:
    """Return what is otherwise than it should be, by fibre and channel: what was found, and what should be."""
    empty: dict[int, int] = {}
    pairs = {key: (got.get(key, empty), wanted.get(key, empty)) for key in got.keys() | wanted.keys()}
    return {
        key: (dict(a.items() - b.items()), dict(b.items() - a.items())) for key, (a, b) in pairs.items() if a != b
    }


@pytest.mark.timeout(1.2 * max(CASES, 500))
@seed(SEED)
@settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(deliveries())
def test_deliveries_come_out_as_a_plain_model_says(delivery: Delivery) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        deliver(root, delivery)
        store = Store(str(root))
        late = any(file.end > MIDNIGHTS[1] - SECOND for file in delivery.files)
        for index, day in enumerate(DAYS[: 1 + late]):
            hold_to_model(root, delivery, index, catalogue_day(store, day))
            if late:
                hold_neighbours_to_model(store, delivery, index)
