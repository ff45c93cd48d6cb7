"""What lets a training be stopped and gone on with: its state in the data root, and a flag that signals set.

A state is one safetensors file, its values as JSON in the header: no pickle, and replaced whole. It is found again
by what is trained on and the settings alone, so a changed setting begins anew.
"""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialize_tensors

from dasanom_assets.tables.store import Store

KEY_DIGITS = 16


class Interrupted(RuntimeError):
    """A training that was told to stop, and did.

    Parameters
    ----------
    epoch : str
        How far it came, as in "epoch 3 of 8".
    kept : bool
        Whether its state was.
    """

    def __init__(self, epoch: str, kept: bool) -> None:
        then = "run it again with the same settings to go on from there" if kept else "nothing of it was kept"
        super().__init__(f"interrupted in {epoch}: {then}")


class Unfinished:
    """The state of one training, below ``models/<network>/unfinished/``.

    Parameters
    ----------
    store : Store
    network : str
        The kind of model: ``vae``, ...
    inputs : mapping
        JSON-serialisable: all that decides what the training comes to, as what is trained on and the settings.
    """

    def __init__(self, store: Store, network: str, inputs: Mapping[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]
        self._store, self.path = store, f"models/{network}/unfinished/{key}.safetensors"

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the tensors and the values that were saved last; None where there is nothing to go on from."""
        if not self._store.exists(self.path):
            return None
        content = self._store.read_bytes(self.path)
        # The format's header: its length in 8 bytes, and JSON. The library reads it from local files only.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return parse_tensors(content), json.loads(header["__metadata__"]["values"])

    def save(self, tensors: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Replace the state.

        Parameters
        ----------
        tensors : mapping
            Names to NumPy arrays or torch tensors on the CPU, without gradients.
        values : mapping
            JSON-serialisable.
        """
        arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
        self._store.write_bytes(self.path, serialize_tensors(arrays, {"values": json.dumps(values)}))

    def discard(self) -> None:
        """Forget the state, if there is one."""
        self._store.remove(self.path)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether SIGINT or SIGTERM has come since; a second one changes nothing.

    For the main thread only, as all of Python's signal handlers.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """Return what an optimizer remembers of its steps, on the CPU: ``<prefix>.<parameter>.<name>``."""
    return {
        f"{prefix}.{parameter}.{name}": value.cpu()
        for parameter, remembered in optimizer.state_dict()["state"].items()
        for name, value in remembered.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, np.ndarray], prefix: str) -> None:
    """Give an optimizer of the same parameters what `optimizer_tensors` returned, to the bit."""
    remembered: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}."):
            parameter, name = key.removeprefix(f"{prefix}.").split(".")
            remembered.setdefault(int(parameter), {})[name] = torch.from_numpy(value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})
    # Moments lie in memory as their parameters do: in another layout the same sums may round differently.
    for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
        state = optimizer.state[parameter]
        for name, value in state.items():
            if value.dim() and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)
