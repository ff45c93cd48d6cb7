"""Files of a vendor bundle: samples, the sidecar that describes them, and the contractor's files beside them.

DASCore, which takes a second to load, is not needed for them; see `bundle` for what it reads them with.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dasanom_assets.recordings.sidecar import SIDECAR, Sidecar

CONTRACTOR_ENDINGS = ("_prob.prob", "_power.pow")
_CONTRACTOR = re.compile(r"((?:.*/)?)Model(\d+)/([^/]+\.bin)(_prob\.prob|_power\.pow)")


def samples(path: str | Path, sidecar: Sidecar) -> np.memmap:
    """Map the samples of a bundle, shape (n_samples, n_channels), without reading them."""
    return np.memmap(path, sidecar.dtype, "r", shape=(sidecar.n_samples, len(sidecar.channels)))


def contractor_files(path: str, listing: Iterable[str]) -> list[tuple[int, str | None, str | None]]:
    """Return the contractor's files of a bundle among `listing`, one entry a model, lowest number first.

    Parameters
    ----------
    path : str
        The `.bin` file.
    listing : iterable of str
        Paths in the same notation.

    Returns
    -------
    list of tuple
        Model number, path of the probabilities or None, path of the power or None.
    """
    files: dict[int, dict[str, str]] = {}
    name = path.rpartition("/")[2]
    endings = tuple(name + ending for ending in CONTRACTOR_ENDINGS)
    for other in listing:
        # Cheap first: a day has thousands of bundles, and each is looked up among all files.
        match = _CONTRACTOR.fullmatch(other) if other.endswith(endings) else None
        if match and match[1] + match[3] == path:
            files.setdefault(int(match[2]), {})[match[4]] = other
    return [(k, v.get("_prob.prob"), v.get("_power.pow")) for k, v in sorted(files.items())]


def bundle_of(path: str) -> str | None:
    """Return the `.bin` file that a sidecar or a contractor's file belongs to, None for any other file."""
    if path.endswith(".bin" + SIDECAR):
        return path.removesuffix(SIDECAR)
    match = _CONTRACTOR.fullmatch(path)
    return match[1] + match[3] if match else None
