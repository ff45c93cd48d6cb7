"""Messages between a process and the cage in which it has files opened: JSON, with arrays of numbers in it."""

import base64
import json
from typing import Any

import numpy as np

_ARRAY = "array of"


def encoded(message: Any) -> bytes:
    """Return a message of what JSON knows, and of NumPy's numbers, times left out, and arrays of them."""
    return json.dumps(message, default=_plain).encode()


def decoded(content: bytes) -> Any:
    """Undo `encoded`; raises ValueError at anything else."""
    return json.loads(content, object_hook=_array)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_ARRAY: value.dtype.str, "shape": value.shape, "data": data}
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no part of a message")


def _array(value: dict[str, Any]) -> Any:
    if _ARRAY not in value:
        return value
    dtype = np.dtype(str(value[_ARRAY]))
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype} is no part of a message")
    return np.frombuffer(base64.b64decode(value["data"]), dtype).reshape(value["shape"]).copy()
