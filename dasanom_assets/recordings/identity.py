"""Whose signal a file is: the one place that decides the fibre, in this order.

1. a rule of the site, see `site_rules`;
2. what the format says: network and station, or else the instrument;
3. the sidecar of a bundle;
4. the folders between the day's and the file, without those that tell of time or processing;
5. the file's name, without time, counter and processing. Files named by their time alone are all of one fibre.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from dasanom_assets.recordings.site_rules import Site, composed, rule_for

NAMELESS = "fibre"
"""The fibre of files whose names and folders tell of time only."""
SAME_TIME = 0.5
"""Share of the shorter of two files that must be at the time of the other, for them to be of two fibres."""

MOST_FILES = 0.5
"""Share of files that must be at the time of another one, for their counters to be those of lines: where few are,
a clock was set back."""

_STAMP = re.compile(
    r"(?:(?<![0-9A-Za-z])|(?<=[A-Za-z])(?=(?:19|20)\d\d"
    r"(?:[01]\d[0-3]\d[T_-]?[0-2]\d[0-5]\d[0-5]\d|[-_][01]\d[-_][0-3]\d)))(?:"
    r"\d{8}(?:[T_-]?\d{4,6}(?:[._]?\d{1,9})?)?Z?"
    r"|\d{4}-\d{2}-\d{2}(?:[T_ -]?\d{2}[-_.:h]?\d{2}(?:[-_.:m]?\d{2}(?:[._]\d{1,9})?s?)?)?Z?"
    r"|\d{4}_\d{2}_\d{2}(?:[T_]\d{2}[-_.h]\d{2}(?:[-_.m]\d{2}(?:[._]\d{1,9})?s?)?)?Z?"
    r"|(?:19|20)\d{2}[0-3]\d{2}(?:[T_-]?\d{4,6}(?:[._]?\d{1,9})?)?Z?"  # the day of the year
    r"|\d{2}(?:0\d|1[0-2])(?:[0-2]\d|3[01])[T_-]\d{4,6}(?:[._]?\d{1,9})?Z?"
    r"|(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:[._]\d{1,9})?Z?"
    r"|\d{10,20}"
    r"|\d{14}"
    r")(?:_?UTC)?(?![0-9A-Za-z])"
)
_COPY = re.compile(
    r"(?:raw|dec\d*|decim|decimated|downsampled|resampled|copy|\d+(?:\.\d+)?[\s_]?k?hz)", re.IGNORECASE
)
_CHANNEL = r"ch(?:an|annel)?[\s_-]?\d+"
_TECHNICAL = (
    rf"(?:{_COPY.pattern}|data|hdf5|h5|tdms|das|dphi|utc|part\d*|{_CHANNEL}"
    r"|\d+(?:\.\d+)?\s?(?:m|km|ft|s|sps|min)"  # before a bare number, which is a part of it
    r"|\(?\d+\)?|\d{1,2}h(?:\d{2}(?:m(?:\d{2}s?)?)?)?|h(?:our)?[_-]?(?:[01]\d|2[0-3]))"
)
_OF = r"copy(?:[\s_-]*\(?\d+\)?)?[\s_-]+of"
_COPY_OF = re.compile(rf"^{_OF}[\s_.-]+", re.IGNORECASE)
_BEFORE = re.compile(rf"^(?:{_OF}|{_TECHNICAL})(?:[\s_.-]+|$)", re.IGNORECASE)
_AFTER = re.compile(rf"(?:[\s_.-]+|^){_TECHNICAL}$", re.IGNORECASE)
_PROCESSED = re.compile(rf"(?:[\s_.-]+|^)(?:{_COPY.pattern}|utc|{_CHANNEL})$", re.IGNORECASE)
_EDGES = " _.-"


def identify(
    path: str, rules: Sequence[Site], attributes: Mapping[str, Any], of_sidecar: str | None = None
) -> tuple[str, str, Site | None]:
    """Decide whose signal a file is.

    Parameters
    ----------
    path : str
        Relative to the data root.
    rules : sequence of Site
        See `site_rules.read_sites`.
    attributes : mapping
        What the format or the sidecar says, by name.
    of_sidecar : str, optional
        The fibre that a bundle's sidecar names.

    Returns
    -------
    fibre : str
    decided : str
        By what, in words.
    rule : Site or None

    Examples
    --------
    >>> identify("landing/2026-01-05/line_A_20260105T100000.h5", (), {})[:2]
    ('line_A', "the file's name")
    >>> identify("landing/2026-01-05/boxA/raw/100000.h5", (), {})[:2]
    ('boxA', 'the folder')
    """
    below = below_day(path)
    number, rule = rule_for(rules, below, attributes)
    if rule is not None:
        return composed(rule.fibre), f"rule {number} of sites.toml", rule
    if of_sidecar is None:
        stated = {
            name: composed(str(attributes.get(name) or "")) for name in ("network", "station", "instrument_id")
        }
        if stated["network"] or stated["station"]:
            named = [name for name in ("network", "station") if stated[name]]
            return ".".join(stated[name] for name in named), f"the format's {' and '.join(named)}", None
        if stated["instrument_id"]:
            return stated["instrument_id"], "the format's instrument", None
    elif composed(of_sidecar):
        return composed(of_sidecar), "the sidecar", None
    if folder := folder_name(below):
        return folder, "the folder", None
    if name := file_name(below):
        return name, "the file's name", None
    return NAMELESS, "no name: it tells of time only", None


def below_day(path: str) -> str:
    """Return the path of a file below the folder of its day; outside of `landing/` its name."""
    parts = PurePosixPath(path).parts
    return "/".join(parts[2:]) if parts[0] == "landing" and len(parts) > 2 else parts[-1]


def folder_name(below: str) -> str:
    """Return what the folders of a file say of its fibre; empty where they tell of time or processing only."""
    return "-".join(name for part in PurePosixPath(below).parts[:-1] if (name := _name(part)))


def file_name(below: str) -> str:
    """Return what the name of a file says of its fibre; empty where it tells of time or processing only."""
    return _name(_stem(below))


def _stem(below: str) -> str:
    return PurePosixPath(below).stem


def _name(text: str) -> str:
    """Return a name without time, counter and processing; what stands before the time is the name."""
    text = composed(text)
    if stamp := _STAMP.search(text):
        before, after = text[: stamp.start()], _STAMP.sub("", text[stamp.end() :])
        # Its last number is no counter: the time is that.
        before = _stripped(_stripped(before, _BEFORE), _PROCESSED)
        return before or _stripped(_stripped(after, _BEFORE), _AFTER)
    return _stripped(_stripped(text, _BEFORE), _AFTER)


def _stripped(text: str, what: re.Pattern[str]) -> str:
    text = text.strip(_EDGES)
    while (shorter := what.sub("", text).strip(_EDGES)) != text:
        text = shorter
    return text


def part_fibres(rows: Sequence[dict[str, Any]], known: Collection[str] = ()) -> None:
    """Keep apart files that have one name of a fibre by chance, and say so in ``issues``.

    Files of exactly the same channels, time and rate, and yet of other content, cannot be one signal. Where
    format, folder or name gave them one fibre, and folders or names tell them apart, these are added to the name,
    for all of the fibre. What was kept apart on earlier days still is, also where a day has files of one folder or
    name only. What a rule or a sidecar names is left as it is. A copy in a folder, of a file of the same name
    outside, has the fibre of that. Changes ``fibre`` and ``fibre_from``.

    Parameters
    ----------
    rows : sequence of dict
        Those of the catalogue, with ``channels`` and ``sha256``.
    known : collection of str
        Fibres of earlier days.
    """
    originals = _know_copies(rows)
    tellers: tuple[tuple[str, Callable[[str], str], float], ...] = (
        ("folder", folder_name, 0),
        ("name", file_name, 0),
        ("name", _whole_name, MOST_FILES),
    )
    for what, teller, share in tellers:
        groups = defaultdict(list)
        for row in rows:
            if not row["fibre_from"].startswith(("rule", "the sidecar")):
                groups[row["fibre"]].append(row)
        for fibre, of_fibre in groups.items():
            names = {row["path"]: teller(below_day(originals.get(row["path"], row["path"]))) for row in of_fibre}
            apart = {
                path: name if name.startswith(fibre) else f"{fibre}-{name}"
                for path, name in names.items()
                if name and name != fibre
            }
            remembered = sum(name in known for name in apart.values()) > share * len(of_fibre)
            several = len(set(names.values())) > 1
            if not remembered and not (several and _contradict(of_fibre, names, share)):
                continue
            when = "had on earlier days" if remembered else "have"
            for row in of_fibre:
                if row["path"] in apart:
                    row["fibre"] = apart[row["path"]]
                    row["fibre_from"] += f", and the {what}"
                row["issues"].append(
                    f"files of other {what}s {when} the same channels at the same time, so that {fibre} "
                    "was taken for several fibres; name them in sites.toml"
                )


def _know_copies(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Give a copy that lies in a folder, as in `backup/`, the fibre of the same file outside; return its path."""
    outside = {PurePosixPath(row["path"]).name: row for row in rows if "/" not in below_day(row["path"])}
    originals = {}
    for row in rows:
        original = outside.get(PurePosixPath(row["path"]).name)
        if original is None or row["fibre_from"] != "the folder":
            continue
        if row["sha256"] == original["sha256"]:
            row["fibre"] = original["fibre"]
            row["fibre_from"] = f"that of {original['path']}, whose copy it is"
            originals[row["path"]] = original["path"]
    return originals


def _whole_name(below: str) -> str:
    """Return the name of a file before its time, with counters: they may be those of lines or channels."""
    stem = composed(_stem(below))
    if stamp := _STAMP.search(stem):
        stem = _stripped(stem[: stamp.start()], _COPY_OF)
    return "_".join(word for word in re.split(r"[\s_]+", stem) if not _COPY.fullmatch(word))


def _contradict(rows: Sequence[dict[str, Any]], names: Mapping[str, str], share: float) -> bool:
    """Whether more than a share of files have the channels, time and rate of one that has another name."""
    contradicting: set[str] = set()
    live: dict[bytes, list[dict[str, Any]]] = defaultdict(list)  # by channels
    for row in sorted(rows, key=lambda row: row["start"]):
        same = np.unique(row["channels"]).tobytes()
        live[same] = [other for other in live[same] if other["end"] > row["start"]]
        for other in live[same]:
            shorter = min(row["end"] - row["start"], other["end"] - other["start"])
            if (
                names[row["path"]] != names[other["path"]]
                and min(row["end"], other["end"]) - row["start"] > SAME_TIME * shorter
                and abs(row["sampling_rate_hz"] / other["sampling_rate_hz"] - 1) < 0.01
                and row["sha256"] != other["sha256"]
            ):
                contradicting |= {row["path"], other["path"]}
                if len(contradicting) > share * len(rows):
                    return True
        live[same].append(row)
    return False
