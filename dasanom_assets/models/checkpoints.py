"""Models in the data root: safetensors and JSON, versioned by what they hold. No pickle, no torch.

A version is written tensors first, then their description, and is made the latest by a pointer: a killed writer
leaves the one that was before. What scores is the live set: one pointer to versions that belong together.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialize_tensors

from dasanom_assets.tables.store import Store

VERSION_DIGITS = 16
LIVE = "models/live.json"
"""The one pointer to what scores."""
CODE = {"training_set": "1", "vae": "1", "infogan": "1", "reference_model": "2"}
"""Version of the code that makes each kind of model; raised when the same inputs would give another one."""
ASSETS = {"vae": "vae_checkpoint", "infogan": "infogan_checkpoint"}
"""The assets that make kinds of models, where their names differ."""


class CheckpointError(RuntimeError):
    """A model that is not there, is not what was written, or was made by other code than would make it now."""


def save(store: Store, name: str, tensors: dict[str, Any], description: dict[str, Any]) -> str:
    """Store a model and return its version; making it the latest, or live, is a separate step.

    Saving the same content again gives the same version.

    Parameters
    ----------
    store : Store
    name : str
        What kind of model: ``vae``, ``reference_model``, ...
    tensors : dict
        Names to NumPy arrays or torch tensors on the CPU, without gradients.
    description : dict
        JSON-serialisable, and free of times of day: it is part of what the version names.

    Returns
    -------
    str
        The first digits of the SHA-256 over the tensors' file, the description and the version of the code.

    Raises
    ------
    TypeError
        Where the description is not JSON-serialisable.
    """
    description = json.loads(json.dumps(description))  # as it will be read back
    content = serialize_tensors({key: np.asarray(value, order="C") for key, value in tensors.items()})
    code = CODE.get(name)
    full = _digest(content, description, code)
    version = full[:VERSION_DIGITS]
    store.write_bytes(f"{_folder(name, version)}/model.safetensors", content)
    tensors_sha256 = hashlib.sha256(content).hexdigest()
    note = {"digest": full, "tensors_sha256": tensors_sha256, "code": code, "description": description}
    store.write_json(f"{_folder(name, version)}/model.json", note)
    return version


def load(store: Store, name: str, version: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the description of a stored model.

    Raises
    ------
    CheckpointError
        Where it does not exist, either file is not what was written, or other code made it: what it holds must not
        be mixed with what this code makes.
    """
    note = _note(store, name, version)
    code, now = note.get("code"), CODE.get(name)
    if code != now:
        remedy = f"materialize {ASSETS.get(name, name)} again, or run the job train"
        raise CheckpointError(f"{name} {version} was made by code {code or 0}, which is {now} now: {remedy}")
    path = f"{_folder(name, version)}/model.safetensors"
    try:
        content = store.read_bytes(path)
        if hashlib.sha256(content).hexdigest() != note["tensors_sha256"]:
            raise CheckpointError(f"{store.url(path)} is damaged: its SHA-256 is not that in model.json")
        if _digest(content, note["description"], code) != note["digest"] or not note["digest"].startswith(version):
            raise CheckpointError(f"{name} {version} is damaged: model.json is not what was written")
        return parse_tensors(content), note["description"]
    except (FileNotFoundError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{name} {version} is damaged: {error}") from error


def digest(store: Store, name: str, version: str) -> str:
    """Return ``sha256:`` and the full digest of a model: its data version.

    Raises
    ------
    CheckpointError
        Where it does not exist.
    """
    return f"sha256:{_note(store, name, version)['digest']}"


def set_latest(store: Store, name: str, version: str) -> None:
    """Make a version the one that the next step of a training takes.

    Raises
    ------
    CheckpointError
        Where it cannot be loaded; the pointer stays as it was.
    """
    load(store, name, version)
    store.write_json(_pointer(name), {"version": version})


def latest(store: Store, name: str) -> str | None:
    """Return the version that was made last, or None where none ever was."""
    return store.read_json(_pointer(name))["version"] if store.exists(_pointer(name)) else None


def require_latest(store: Store, name: str, remedy: str) -> str:
    """Return the version that was made last.

    Raises
    ------
    CheckpointError
        Where there is none, with `remedy` as what to do.
    """
    version = latest(store, name)
    if version is None:
        raise CheckpointError(f"there is no {name} yet: {remedy}")
    return version


def set_outcome(store: Store, name: str, outcome: Mapping[str, Any]) -> None:
    """Note what a training has made, for whoever started it.

    Parameters
    ----------
    store : Store
    name : str
        Of the network.
    outcome : mapping
        JSON-serialisable: its ``version``, ``training_set`` and ``settings``, and what is told of it.
    """
    load(store, name, outcome["version"])
    store.write_json(_outcome(name), dict(outcome))


def outcome(store: Store, name: str, training_set: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the last training of a network has made.

    Raises
    ------
    CheckpointError
        Where that was on another training set, or with other settings.
    """
    made = store.read_json(_outcome(name)) if store.exists(_outcome(name)) else {}
    if (made.get("training_set"), made.get("settings")) != (training_set, settings):
        raise CheckpointError(f"the training of {name} ended without a network: materialize it again")
    return made


def set_live(store: Store, versions: Mapping[str, str]) -> None:
    """Make models that belong together those that score.

    Parameters
    ----------
    store : Store
    versions : mapping of str to str
        Version by kind of model: ``reference_model`` and what it was fitted with.

    Raises
    ------
    CheckpointError
        Where one of them cannot be loaded; the pointer stays as it was.
    """
    for name, version in versions.items():
        load(store, name, version)
    store.write_json(LIVE, dict(versions))


def live_set(store: Store) -> dict[str, str]:
    """Return the versions that score, by kind of model; none where nothing was promoted yet."""
    return store.read_json(LIVE) if store.exists(LIVE) else {}


def live(store: Store, name: str) -> str | None:
    """Return the version of a kind of model that scores, or None where there is none."""
    return live_set(store).get(name)


def _folder(name: str, version: str) -> str:
    return f"models/{name}/{version}"


def _pointer(name: str) -> str:
    return f"models/{name}/latest.json"


def _outcome(name: str) -> str:
    return f"models/{name}/trained.json"


def _note(store: Store, name: str, version: str) -> dict[str, Any]:
    path = f"{_folder(name, version)}/model.json"
    if not store.exists(path):
        raise CheckpointError(f"there is no {name} {version} in {store.url('models')}")
    try:
        return store.read_json(path)
    except ValueError as error:
        raise CheckpointError(f"{store.url(path)} is damaged: {error}") from error


def _digest(content: bytes, description: dict[str, Any], code: str | None) -> str:
    canonical = json.dumps([description, code], sort_keys=True, separators=(",", ":"))
    full = hashlib.sha256(content)
    full.update(canonical.encode())
    return full.hexdigest()
