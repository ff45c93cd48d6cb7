"""What an HDF5 file consists of, before it is read: datasets, and other files that it would have opened."""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import h5py
from h5py import h5d, h5l, h5o

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SMALL_BYTES = 1 << 28
"""Samples that take less memory may be stored in any number of bytes: counting these takes as long as all else."""


@dataclass(frozen=True)
class Dataset:
    """A dataset, unread.

    Attributes
    ----------
    name : str
    n_bytes : int
        Of its samples.
    stored : int
        Bytes that they take in the file, where they are more than `SMALL_BYTES`.
    """

    name: str
    n_bytes: int
    stored: int | None


@dataclass(frozen=True)
class Contents:
    """Datasets of a file, and the names of the other files that hold some of its content."""

    datasets: list[Dataset]
    others: list[str]


def contents(local: Path) -> Contents:
    """Return what a file consists of; nothing, where it is no HDF5.

    Raises
    ------
    OSError, RuntimeError
        Where it is damaged.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with h5py.File(f"{folder}/a.h5", "w") as file:
    ...         file["acquisition/raw"] = [[1.0, 2.0]]
    ...         file["more"] = h5py.ExternalLink("b.h5", "/raw")
    ...     contents(Path(folder) / "a.h5")
    Contents(datasets=[Dataset(name='acquisition/raw', n_bytes=16, stored=None)], others=['b.h5'])
    """
    found = Contents([], [])
    if not h5py.is_hdf5(local):
        return found

    # The calls of the library itself: h5py's objects of them take ten times as long, and files have hundreds.
    def link(name: bytes, info: h5l.LinkInfo) -> None:
        if info.type == h5l.TYPE_EXTERNAL:
            found.others.append(file.get(name, getlink=True).filename)

    def item(name: bytes, info: h5o.ObjInfo) -> None:
        if info.type == h5o.TYPE_DATASET:
            _add(h5d.open(file.id, name), name.decode(errors="replace"), found)

    with h5py.File(local) as file:
        file.id.links.visit(link, info=True)
        h5o.visit(file.id, item, info=True)
    return found


def _add(dataset: h5d.DatasetID, name: str, found: Contents) -> None:
    space, made = dataset.get_space(), dataset.get_create_plist()
    if space.get_simple_extent_type() != h5py.h5s.NULL:
        n_bytes = prod(space.get_simple_extent_dims()) * dataset.get_type().get_size()
        stored = dataset.get_storage_size() if n_bytes > SMALL_BYTES else None
        found.datasets.append(Dataset(name, n_bytes, stored))
    files = [made.get_external(number)[0] for number in range(made.get_external_count())]
    if made.get_layout() == h5d.VIRTUAL:
        files += [file for n in range(made.get_virtual_count()) if (file := made.get_virtual_filename(n)) != "."]
    found.others.extend(os.fsdecode(file) for file in files)
