"""On what networks compute: the torch device that a setting names, and the precision that it knows."""

import torch


def resolve_device(device: str) -> str:
    """Return the torch device that a setting names.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:<n>``.

    Raises
    ------
    ValueError
        Where it is none of these, or the GPU is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if device == "cpu" or (kind == "cuda" and (number.isdecimal() or device == "cuda")):
        there = torch.cuda.device_count()
        if kind == "cuda" and int(number or 0) >= there:
            raise ValueError(f"device {device!r} is not there: torch sees {there} GPUs; use 'auto' or 'cpu'")
        return device
    raise ValueError(f"device {device!r} is none of 'auto', 'cpu', 'cuda' and 'cuda:<n>'")


def knows_bf16(device: str) -> bool:
    """Whether a torch device has instructions for bfloat16; without, it would be slower than float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()
