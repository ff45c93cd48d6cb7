"""Why a file cannot be used, in sentences that a technician can act on: what is wrong, and what to do."""

from pathlib import PurePosixPath
from typing import Any

import numpy as np

from dasanom_assets.recordings.bundle_files import CONTRACTOR_ENDINGS
from dasanom_assets.recordings.limits import LimitError
from dasanom_assets.recordings.listing import why_closed
from dasanom_assets.recordings.sidecar import SIDECAR, BundleError
from dasanom_assets.recordings.site_rules import composed

INSTALL = "pip install {}, or pip install -e '.[formats]' in the project's folder for all readers"
"""How to get the package that a format is read with."""
READERS = {"segyio": (".sgy", ".segy")}
"""What DASCore reads formats with that it does not bring along, by the endings of their files."""
PICKLED = "a pickled object, which could run code when opened: deliver what the interrogator wrote"
REWRITTEN = "it was written again while it was read: leave deliveries as they are"
HEAD_BYTES = 512
"""What `foreign` looks at."""
MOST_WORDS = 300
"""Characters of a foreign reader's own message that are told."""
COMPRESSED = {
    "gzip": b"\x1f\x8b",
    "zip": b"PK\x03\x04",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
    "lz4": b"\x04\x22\x4d\x18",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "rar": b"Rar!",
}
UNREAD_ENDINGS = {
    ".nc": "netCDF",
    ".netcdf": "netCDF",
    ".mseed": "miniSEED",
    ".miniseed": "miniSEED",
    ".pb": "protobuf",
}
UNREAD = "no reader of it is among those of DASCore here: have it written as HDF5, TDMS or SEG-Y"


class RefusedError(ValueError):
    """A file that can be read but not used; the message says why."""


class CodeError(BaseException):
    """A file that would have run code, or written, when it was opened; no reader takes it for one of its own."""


def _of_dascore(error: BaseException, name: str) -> bool:
    """Whether an error is one of DASCore's, by name: to load it takes a second, and most days are without it."""
    return any(
        f"{kind.__module__}.{kind.__name__}" == f"dascore.exceptions.{name}" for kind in type(error).__mro__
    )


def reason_of(error: Exception | CodeError) -> str:
    """Return why a file cannot be used, in words, from what was raised at it."""
    if isinstance(error, CodeError):
        return PICKLED
    if isinstance(error, BundleError):
        return _cut(str(error))  # it may quote a sidecar of any length
    if isinstance(error, RefusedError | LimitError):
        return str(error)
    if _of_dascore(error, "MissingOptionalDependencyError"):
        package = next((name for name in READERS if name in str(error)), "")
        how = INSTALL.format(package or "what it names")
        return f"its format is read with {package or 'a package'}, which is not installed: {how} ({_told(error)})"
    if _of_dascore(error, "DASVaderCompatibilityError"):
        return (
            "an old file of DASVader, which h5py from 3.16 on does not read: pip install 'h5py<3.16', or "
            "save it again with a new DASVader"
        )
    if _of_dascore(error, "UnknownFiberFormatError"):
        return "not a recording of any known format: deliver what the interrogator wrote, or remove it"
    if isinstance(error, NotImplementedError):
        return (
            f"its format is known, but DASCore has no reader of it yet: deliver the signal itself ({_told(error)})"
        )
    if isinstance(error, MemoryError):
        return "it takes more memory to read than there is: split it into shorter files"
    if isinstance(error, OSError) and error.errno is not None:
        return why_closed(error)
    message = f"{type(error).__name__}: {_told(error)}"
    return f"cannot be read: its reader stops at it, so it is damaged or cut short; deliver it again ({message})"


def misnamed(path: str) -> str | None:
    """Say what is wrong with the name of a file that would be part of a bundle, or None."""
    name = PurePosixPath(path).name
    lower = name.lower()
    endings = ("", SIDECAR, *CONTRACTOR_ENDINGS)
    for ending in endings:
        if lower.endswith(".bin" + ending) and not name.endswith(".bin" + ending):
            right = name[: -len(".bin" + ending)] + ".bin" + ending
            return f"its ending is in upper case, and .bin{ending} is looked for: rename it to {right}"
    if name.endswith(tuple(".bin" + ending for ending in CONTRACTOR_ENDINGS)):
        folder = PurePosixPath(path).parent.name
        bundle = next(name.removesuffix(ending) for ending in CONTRACTOR_ENDINGS if name.endswith(ending))
        if not (folder.startswith("Model") and folder[5:].isdecimal()):
            return (
                f"a contractor's file in the folder {folder}: it is looked for in Model<k> beside {bundle}, as "
                "in Model1; rename the folder"
            )
        return f"a contractor's file without its recording: deliver {bundle} into the folder above, or remove it"
    if name.endswith(".bin" + SIDECAR):
        return (
            f"a sidecar without its recording {name.removesuffix(SIDECAR)}: deliver that beside it, or remove it"
        )
    return None


def foreign(head: bytes, name: str = "") -> str | None:
    """Say what a file of no known format is, from its first `HEAD_BYTES` and its name; None: they do not tell."""
    for packer, magic in COMPRESSED.items():
        if head.startswith(magic):
            return f"it is compressed ({packer}): unpack it, and deliver what is in it"
    if head[257:262] == b"ustar":
        return "it is an archive (tar): unpack it, and deliver what is in it"
    if head.startswith(b"CDF") and head[3:4] in b"\x01\x02\x05":
        return f"it is netCDF: {UNREAD}"
    if (head[:6].isdigit() and head[6:7] in b"DRQM" and head[7:8] in b" \0") or head.startswith(b"MS\x03"):
        return f"it is miniSEED: {UNREAD}"
    if head.startswith(b"PBUFMETA"):
        return f"it is protobuf of Sintela: {UNREAD}"
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps the error of a download: fetch the recording again"
    if head and not head.strip(b"\0"):
        return "it begins with nothing but zeros: space was kept for it, and not written; deliver it again"
    ending = PurePosixPath(name.lower()).suffix
    return f"it is {UNREAD_ENDINGS[ending]}: {UNREAD}" if ending in UNREAD_ENDINGS else None


def misread(kind: str, head: bytes, step_ns: float) -> str | None:
    """Say where DASCore takes another step of time than the head of a file tells, or None.

    DASCore 0.1.24 looks for the times of a Sentek file in the wrong place. The head tells the step as the third
    of its float32 numbers, in ns.
    """
    if kind.lower() != "sentek" or len(head) < 12:
        return None
    told_ns = float(np.frombuffer(head[8:12], "<f4")[0])
    if abs(step_ns - told_ns) <= 0.01 * told_ns:
        return None
    return (
        f"it is of Sentek, and DASCore misreads its times: a step of {step_ns / 1e9:.4g} s, where its head tells "
        f"{told_ns / 1e9:.4g} s; have it written as HDF5, TDMS or SEG-Y"
    )


def uneven(times: np.ndarray) -> str:
    """Say why the times of a recording give it no sampling rate.

    Parameters
    ----------
    times : numpy.ndarray
        datetime64 of each sample; any other type tells no date.
    """
    if not np.issubdtype(times.dtype, np.datetime64):
        return NO_DATE
    if len(times) < 2:
        return "it holds one sample in time, and a rate needs two: remove it, or deliver the whole recording"
    if unknown := int(np.isnat(times).sum()):
        return f"the times of {unknown} of its {len(times)} samples are unknown (NaT): deliver it with all of them"
    gaps: np.ndarray = np.diff(times.astype("datetime64[ns]").astype(np.int64)) / 1e9
    usual = float(np.median(gaps))
    if usual <= 0:
        return "its times do not go forward, so it has no sampling rate: see to the interrogator's clock"
    odd = np.flatnonzero(np.asarray((gaps > 1.5 * usual) | (gaps <= 0)))
    if not len(odd):
        return (
            f"its samples are not evenly spaced in time: they are {gaps.min():.6g} to {gaps.max():.6g} s apart; "
            "deliver it as it was sampled"
        )
    after = float((times[odd[0]] - times[0]) / np.timedelta64(1, "ns")) / 1e9 + usual
    change = gaps[odd[0]] - usual
    what = f"a gap of {change:.6g} s" if change > 0 else f"a step back of {-change:.6g} s"
    more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    return f"its times have {what} after {after:.6g} s{more}: split it there into one file each"


NO_DATE = "it tells no absolute time, its times count from 0: deliver it with the date and time of its start, UTC"


def _told(error: Any) -> str:
    return _cut(str(error))


def _cut(words: str) -> str:
    words = composed(words)
    return words if len(words) <= MOST_WORDS else words[:MOST_WORDS] + "…"
