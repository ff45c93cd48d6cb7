"""What lies in a folder of a delivery, also where it cannot be opened: nothing here opens a file.

Deliveries hold links to nothing, pipes, folders that may not be entered and names in old encodings. Each is an
entry with a `problem`, and no step opens an entry that has one.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import Any
from unicodedata import category

from dasanom_assets.tables.store import Store

NO_TEXT = (
    "its name is not UTF-8 text, or has characters that are not seen: rename it with letters, digits, - and _"
)
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that move a terminal's cursor, turn the direction of text, or hide."""
EFFECTIVE = os.access in os.supports_effective_ids
KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def entries(store: Store, folder: str) -> list[dict[str, Any]]:
    """Return what lies below a folder, at any depth, sorted by path.

    Parameters
    ----------
    store : Store
    folder : str
        Relative to the data root.

    Returns
    -------
    list of dict
        ``path``, ``size`` and ``modified`` as `Store.listing`, and ``problem``: why it is not to be opened, in
        words; empty for what is a regular file. What has a problem has no size and time. A folder is an entry
        only where it has a problem. What of a name is not UTF-8, or not seen, is written as its code in ``path``.
    """
    if not store.is_local:
        listed = store.listing(folder, recursive=True)
        return [
            {**entry, "problem": ""} if _is_text(entry["path"]) else _entry(shown(entry["path"]), None, NO_TEXT)
            for entry in listed
        ]
    return sorted(_below(store.full(folder), folder), key=lambda entry: entry["path"])


def children(store: Store, folder: str) -> list[dict[str, Any]]:
    """Return what lies directly in a folder, sorted by name; nothing where the folder is missing.

    Returns
    -------
    list of dict
        ``name``, ``is_folder`` (of a link: whether it leads to one), and ``problem`` as for `entries`.

    Raises
    ------
    OSError
        Where the folder cannot be listed.
    """
    full = store.full(folder)
    if not store.is_local:
        listed = store.fs.ls(full, detail=True) if store.fs.isdir(full) else []
        names = [(entry["name"].rstrip("/").rpartition("/")[2], entry["type"] == "directory") for entry in listed]
        return [
            {"name": shown(name), "is_folder": is_folder, "problem": "" if _is_text(name) else NO_TEXT}
            for name, is_folder in sorted(names)
            if name
        ]
    try:
        with os.scandir(full) as listing:
            listed = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        if os.path.islink(full):
            raise
        return []
    described = []
    for entry in listed:
        try:
            is_folder = entry.is_dir()
            problem = "" if is_folder else _problem(entry.stat(), entry.path)
        except OSError as error:
            is_folder, problem = False, why_closed(error, linked=entry.is_symlink())
        if not _is_text(entry.name):
            problem = NO_TEXT
        described.append({"name": shown(entry.name), "is_folder": is_folder, "problem": problem})
    return described


def closed(store: Store, path: str) -> str:
    """Return why a path is not to be opened now, in words; empty for a regular file that may be read."""
    if not store.is_local:
        return ""
    full = store.full(path)
    if not _is_text(path):
        return NO_TEXT
    try:
        return _problem(os.stat(full), full)
    except OSError as error:
        return why_closed(error, linked=os.path.islink(full))


def of_network(error: Exception, store: Store) -> bool:
    """Whether an error while a file was read is of the way to a store, and says nothing about the file."""
    if store.is_local or isinstance(error, FileNotFoundError | PermissionError):
        return False
    return isinstance(error, OSError) or type(error).__module__.startswith(("botocore.", "aiohttp."))


def why_closed(error: OSError, *, linked: bool = False) -> str:
    """Return in words what a technician can do about a path that the system does not open."""
    if error.errno == errno.ENOENT:
        if linked:
            return "a link to nothing: deliver the file itself, or mend the link"
        return "it was moved or removed while it was read: leave deliveries in place"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "it may not be read: give the account that runs dasanom the right, as with chmod -R a+rX"
    if error.errno == errno.ENAMETOOLONG:
        return "its path is too long for this system: shorten its name, or the names of the folders around it"
    if error.errno == errno.ELOOP:
        return "a link that leads back to itself: deliver the file itself, or mend the link"
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENXIO):
        return f"the disk does not give it ({os.strerror(error.errno)}): check the disk, and deliver it again"
    return f"the system does not open it: {error.strerror or error}"


def shown(name: str) -> str:
    """Return a name as text that can be stored and shown: what is not UTF-8, or not seen, is its code."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if category(c) in UNSEEN else c for c in text)


def _below(top: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield the entries below a local folder, whose path is `path` as it is shown."""
    folders = [(top, path)]
    while folders:
        full, path = folders.pop()
        try:
            with os.scandir(full) as listing:
                listed = list(listing)
        except OSError as error:
            linked = os.path.islink(full)
            if linked or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                yield _entry(path, None, why_closed(error, linked=linked))
            continue
        for entry in listed:
            below = f"{path}/{shown(entry.name)}"
            if entry.name.startswith(".") and entry.name.endswith(".partial"):  # as in `Store.listing`
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, below))
                else:
                    info = entry.stat()
                    is_text = _is_text(entry.path[len(top) :])  # what lies above is not the deliverer's
                    yield _entry(below, info, _problem(info, entry.path) if is_text else NO_TEXT)
            except OSError as error:
                yield _entry(below, None, why_closed(error, linked=entry.is_symlink()))


def _entry(path: str, info: os.stat_result | None, problem: str) -> dict[str, Any]:
    # A device, or a folder that a link leads to, changes all the time, and is no delivery that goes on.
    size, modified = (info.st_size, info.st_mtime) if info and not problem else (0, 0.0)
    return {"path": path, "size": size, "modified": modified, "problem": problem}


def _problem(info: os.stat_result, full: str) -> str:
    """Return why what a path leads to is not to be opened; empty for a regular file that may be read."""
    if stat.S_ISREG(info.st_mode):
        # Most files may be read by all: one call of the system less for each of a million files.
        readable = info.st_mode & stat.S_IROTH or os.access(full, os.R_OK, effective_ids=EFFECTIVE)
        return "" if readable else why_closed(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if stat.S_ISDIR(info.st_mode):
        return "a link to a folder: put the recordings themselves into the day's folder"
    kind = next((words for is_kind, words in KINDS if is_kind(info.st_mode)), "something")
    return f"{kind}, no file: remove it, and deliver the recording itself"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.isprintable() or not any(category(c) in UNSEEN for c in name)
