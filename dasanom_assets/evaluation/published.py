"""What others have published on MIMII: the size of the set, and the baselines that our figures stand beside."""

import re

MIMII_CLIPS: dict[str, dict[str, tuple[int, int]]] = {
    "fan": {"id_00": (1011, 407), "id_02": (1016, 359), "id_04": (1033, 348), "id_06": (1015, 361)},
    "pump": {"id_00": (1006, 143), "id_02": (1005, 111), "id_04": (702, 100), "id_06": (1036, 102)},
    "slider": {"id_00": (1068, 356), "id_02": (1068, 267), "id_04": (534, 178), "id_06": (534, 89)},
    "valve": {"id_00": (991, 119), "id_02": (708, 120), "id_04": (1000, 120), "id_06": (992, 120)},
}
"""Normal and abnormal clips of the public ids (Purohit et al. 2019, table 1)."""

_RATIOS = (6, 0, -6)
_MIMII: dict[str, dict[str, tuple[float, float, float]]] = {
    "fan": {
        "id_00": (0.766, 0.590, 0.563),
        "id_02": (0.984, 0.872, 0.692),
        "id_04": (0.932, 0.771, 0.595),
        "id_06": (0.998, 0.987, 0.873),
    },
    "pump": {
        "id_00": (0.797, 0.614, 0.604),
        "id_02": (0.485, 0.493, 0.561),
        "id_04": (0.977, 0.946, 0.916),
        "id_06": (0.936, 0.885, 0.599),
    },
    "slider": {
        "id_00": (0.995, 0.984, 0.949),
        "id_02": (0.822, 0.824, 0.768),
        "id_04": (0.924, 0.796, 0.674),
        "id_06": (0.687, 0.527, 0.541),
    },
    "valve": {
        "id_00": (0.778, 0.566, 0.674),
        "id_02": (0.666, 0.556, 0.567),
        "id_04": (0.642, 0.628, 0.454),
        "id_06": (0.630, 0.651, 0.538),
    },
}
"""AUC of the dense autoencoder at 6, 0 and −6 dB, from the repository of MIMII's baseline, version 1.0.3."""
_DCASE = {"fan": (0.652, 0.526), "pump": (0.726, 0.600), "slider": (0.850, 0.669), "valve": (0.665, 0.506)}


def snr_db(folder: str) -> int | None:
    """Return the ratio that a folder names, as ``6_dB``, ``-6_dB``, ``min6dB`` or ``0_dB_fan`` do, or None."""
    match = re.match(r"(-|min|minus)?_?(\d+)_?dB", folder, re.IGNORECASE)
    return None if match is None else int(match[2]) * (-1 if match[1] else 1)


def mimii_baseline(machine: str, name: str, snr: str) -> float | None:
    """Return the AUC of MIMII's autoencoder baseline, None where none is published.

    Parameters
    ----------
    machine : str
    name : str
        The id; anything else is the mean over ids.
    snr : str
        The folder of the ratio.
    """
    ratio = snr_db(snr)
    if ratio not in _RATIOS or machine not in _MIMII:
        return None
    column, ids = _RATIOS.index(ratio), _MIMII[machine]
    values = [row[column] for key, row in ids.items() if name not in ids or key == name]
    return round(sum(values) / len(values), 3)


def dcase_baseline(machine: str) -> tuple[float, float] | tuple[None, None]:
    """Return AUC and partial AUC of the baseline of DCASE 2020 task 2, on its own mixture of ratios, or None."""
    return _DCASE.get(machine, (None, None))
