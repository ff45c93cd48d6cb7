"""Labelled recordings of others, one clip at a time: machine sound, events of a phi-OTDR, any labelled DAS files.

Whatever the layout, a set is a list of files, each with a group and a label that its folders name, and a file
gives clips. A file that cannot be used is left out with a reason, and the rest goes on.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from dasanom_assets.settings import LimitSettings

Layout = Literal["mimii", "bjtu", "das"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

NORMAL = ("normal", "background", "backgroud")
"""Labels of what is to be learned; the last one is how BJTU's folder is spelled."""
MIMII_RATE_HZ = 16_000.0
BJTU_SHAPE = (10_000, 12)
"""Samples and channels of an event of BJTU's (Cao et al. 2023)."""
BJTU_RATE_HZ = 1_000.0
"""Assumed: the files do not say it."""
RATE_TOLERANCE = 1e-3
"""Share by which a sampling rate may differ from that of its set: clocks drift."""
BESIDE_BUNDLES = (".info", ".prob", ".pow")
"""Ends of files that belong to the vendor's recordings and are none themselves."""


def layout_of(name: str) -> Layout:
    """Return the layout of a name.

    Raises
    ------
    ValueError
        Where there is none.
    """
    for layout in LAYOUTS:
        if layout == name:
            return layout
    raise ValueError(f"there is no layout {name!r}: it is one of {', '.join(LAYOUTS)}")


class BadClipError(ValueError):
    """A file that cannot be used; the message says why."""


class Group(NamedTuple):
    """Clips that are learned and scored together; what a layout does not have is empty."""

    machine: str
    id: str = ""
    snr: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.snr, self.machine, self.id) if part)


@dataclass(frozen=True)
class LabelledFile:
    """A file of a labelled set; `label` is its folder's name without a leading number."""

    group: Group
    label: str
    path: Path


@dataclass(frozen=True)
class Clip:
    """One labelled piece of signal.

    Attributes
    ----------
    group : Group
    label : str
    path : pathlib.Path
    rate : float
        Sampling rate, Hz.
    samples : numpy.ndarray
        float32, shape (channels, n_samples): channels of a fibre, or microphones.
    quantization : float or None
        Step between two neighbouring values, in units of `samples`; None for floats.
    """

    group: Group
    label: str
    path: Path
    rate: float
    samples: np.ndarray
    quantization: float | None


@dataclass(frozen=True)
class LabelledSet:
    """A folder of labelled recordings.

    ``mimii`` is ``<root>/<snr>/<machine>/<id>/{normal,abnormal}/*.wav``, in any format of libsndfile; ``bjtu`` is
    MATLAB files with `data` of `BJTU_SHAPE` in a folder a class, at any depth; ``das`` is files of any format that
    DASCore reads, in ``<root>/<label>/``.

    Attributes
    ----------
    root : pathlib.Path
    layout : str
    rate : float or None
        Sampling rate, Hz. Files of another rate are left out; those of ``bjtu`` do not say theirs, and are taken
        to have this one. None: see `with_rate`.
    channels : tuple of int or None
        Microphones, or channels by their place in the file, that are read; None: all.
    normal : tuple of str
        Labels that are learned; others are to be found.
    snrs, machines, ids : tuple of str
        Those that are read, of ``mimii``; empty: all.
    """

    root: Path
    layout: Layout = "mimii"
    rate: float | None = None
    channels: tuple[int, ...] | None = None
    normal: tuple[str, ...] = NORMAL
    snrs: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def files(self) -> list[LabelledFile]:
        """List the files, by group, label and name, without opening one.

        Raises
        ------
        FileNotFoundError
            Where the root is no folder, or holds no labelled file.
        """
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder")
        files = []
        for path in sorted(self.root.glob(_PATTERN[self.layout])):
            if path.is_file() and not path.name.startswith(".") and path.suffix not in BESIDE_BUNDLES:
                group = Group(self.root.name)
                if self.layout == "mimii":
                    snr, machine, name = path.relative_to(self.root).parts[:3]
                    group = Group(machine, name, snr)
                label = re.sub(r"^\d+[_ -]+", "", path.parent.name).lower()
                if self._is_chosen(group):
                    files.append(LabelledFile(group, label, path))
        if not files:
            raise FileNotFoundError(f"{self.root} has no file for layout {self.layout}: {_WORDS[self.layout]}")
        return sorted(files, key=lambda file: (file.group, file.label, file.path))

    def _is_chosen(self, group: Group) -> bool:
        chosen = ((self.snrs, group.snr), (self.machines, group.machine), (self.ids, group.id))
        return all(not names or name in names for names, name in chosen)

    def is_normal(self, label: str) -> bool:
        """Whether clips of a label are to be learned."""
        return label in self.normal

    def read(self, file: LabelledFile) -> list[Clip]:
        """Return the clips of a file: one, or one a patch that DASCore finds.

        Raises
        ------
        BadClipError
            Where it is empty, truncated, foreign, silent, of another sampling rate, or lacks a chosen channel.
        """
        if not file.path.stat().st_size:
            raise BadClipError("empty")
        clips = []
        for rate, samples, quantization in _READ[self.layout](self, file.path):
            if self.rate is not None and abs(rate - self.rate) > RATE_TOLERANCE * self.rate:
                raise BadClipError(f"sampling rate {rate:g} Hz, not {self.rate:g} Hz")
            if self.channels is not None:
                if missing := [c for c in self.channels if not 0 <= c < len(samples)]:
                    raise BadClipError(f"{len(samples)} channels, so there is none with number {missing[0]}")
                samples = samples[list(self.channels)]
            samples = np.ascontiguousarray(samples, np.float32)
            if not samples.size:
                raise BadClipError("no samples")
            if not np.isfinite(samples).all():
                raise BadClipError("samples that are no finite numbers")
            if (samples == samples[:, :1]).all():
                raise BadClipError("silent: no sample differs from another")
            clips.append(Clip(file.group, file.label, file.path, rate, samples, quantization))
        if not clips:
            raise BadClipError("no signal in it")
        return clips

    def clips(self, files: Iterable[LabelledFile], left_out: Callable[[Path, str], Any]) -> Iterator[Clip]:
        """Yield the clips of some files; `left_out` is told path and reason of those that cannot be used."""
        for file in files:
            try:
                clips = self.read(file)
            except BadClipError as error:
                left_out(file.path, str(error))
            else:
                yield from clips

    def with_rate(self, files: Iterable[LabelledFile]) -> "LabelledSet":
        """Return the set with a sampling rate: its own, that of the layout, or that of its first readable file.

        Raises
        ------
        ValueError
            Where no file can be read.
        """
        if self.rate is not None:
            return self
        if self.layout != "das":
            return replace(self, rate=MIMII_RATE_HZ if self.layout == "mimii" else BJTU_RATE_HZ)
        reasons: dict[str, str] = {}
        for clip in self.clips(files, lambda path, reason: reasons.setdefault(path.name, reason)):
            return replace(self, rate=clip.rate)
        examples = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
        raise ValueError(f"none of {len(reasons)} files in {self.root} can be read ({examples})")


_PATTERN = {"mimii": "*/*/*/*/*", "bjtu": "**/*/*.mat", "das": "*/*"}
_WORDS = {
    "mimii": "it wants <snr>/<machine>/<id>/{normal,abnormal}/*.wav",
    "bjtu": "it wants a folder of .mat files a class",
    "das": "it wants a folder of recordings a label",
}

_Signal = tuple[float, np.ndarray, float | None]


def _read_sound(labelled: LabelledSet, path: Path) -> Iterator[_Signal]:
    import soundfile

    with path.open("rb") as raw:
        head = raw.read(12)
    stated_bytes = int.from_bytes(head[4:8], "little") + 8
    # libsndfile takes what there is for the whole. Recorders that write as they go leave 0 or the largest number.
    if head[:4] == b"RIFF" and path.stat().st_size < stated_bytes < 2**32:
        raise BadClipError(f"truncated: {path.stat().st_size:,} of {stated_bytes:,} bytes")
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True).T
            bits = re.fullmatch(r"PCM_[SU]?(\d+)", file.subtype)
            yield float(file.samplerate), samples, 2.0 ** (1 - int(bits[1])) if bits else None
    except soundfile.SoundFileError as error:
        raise BadClipError(f"not a sound file: {error}") from error


def _read_mat(labelled: LabelledSet, path: Path) -> Iterator[_Signal]:
    from scipy.io import loadmat

    try:
        data = loadmat(path, variable_names=["data"]).get("data")
    except NotImplementedError as error:
        raise BadClipError("a MATLAB 7.3 file: save it as version 7") from error
    except Exception as error:  # what SciPy, zlib and struct raise between them
        raise BadClipError(f"not a MATLAB file, or truncated: {error}") from error
    if data is None:
        raise BadClipError("no variable named data")
    if data.shape != BJTU_SHAPE or data.dtype.kind not in "iuf":
        raise BadClipError(f"data is {data.dtype} {data.shape}, not numbers of {BJTU_SHAPE}")
    yield labelled.rate or BJTU_RATE_HZ, data.T, 1.0 if data.dtype.kind in "iu" else None


def _read_das(labelled: LabelledSet, path: Path) -> Iterator[_Signal]:
    from dasanom_assets.recordings import apart
    from dasanom_assets.recordings.reasons import RefusedError

    try:
        for rate, samples in apart.pieces(path, LimitSettings()):
            yield rate, samples.T, 1.0 if samples.dtype.kind in "iu" else None
    except (RefusedError, OSError) as error:
        raise BadClipError(str(error)) from error


_READ: dict[str, Callable[[LabelledSet, Path], Iterator[_Signal]]] = {
    "mimii": _read_sound,
    "bjtu": _read_mat,
    "das": _read_das,
}
