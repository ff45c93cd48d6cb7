"""Attributes that PyTables stored as pickles, read as data.

DASCore's own format, DASDAE, keeps the steps and units of its coordinates so, and PyTables would run whatever a
pickle asks for. Here a pickle can make containers, texts, and numbers and times of NumPy. It names no other class.
"""

import io
import pickle
from typing import Any

import numpy as np

from dasanom_assets.recordings.reasons import CodeError

MOST_BYTES = 1 << 20
"""A longer pickle is no attribute."""


def loads(content: Any, **_: Any) -> Any:
    """Return what a pickle holds.

    Raises
    ------
    CodeError
        Where it calls for anything else, or is too long.
    Exception
        Whatever `pickle` raises at what is none.
    """
    if len(content) > MOST_BYTES:
        raise CodeError
    value = _DataOnly(io.BytesIO(bytes(content))).load()
    if value is _never:  # a text that looks like a name
        raise pickle.UnpicklingError
    return value


def install() -> None:
    """Have PyTables unpickle by `loads` alone."""
    import tables.atom
    import tables.attributeset

    for module in (tables.attributeset, tables.atom):
        module.pickle = _Stand()


class _Stand:
    """What PyTables takes for the module `pickle`."""

    loads = staticmethod(loads)


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        makers = {"dtype": _dtype, "scalar": _scalar, "encode": _encode}
        known = {("numpy", "dtype"), ("_codecs", "encode")}
        known |= {(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")}
        return makers[name] if (module, name) in known else _never


def _never(*_: Any) -> Any:
    raise CodeError


def _dtype(code: str, *_: Any) -> np.dtype:
    if code[:1] not in "biufmM?SU":
        raise CodeError
    return np.dtype(code)


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise CodeError
    return text.encode(encoding)
