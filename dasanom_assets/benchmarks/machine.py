"""What a benchmark ran on, kept beside its figures, and what it took of it."""

import json
from pathlib import Path
from typing import Any

from dasanom_assets.evaluation.hardware import this_machine


def write_figures(path: Path | None, figures: dict[str, Any], **more: Any) -> None:
    """Write figures as JSON, beside `this_machine`.

    Parameters
    ----------
    path : pathlib.Path or None
        None writes nothing.
    figures : dict
        JSON-serialisable.
    **more
        Of the machine, such as the versions of peers.
    """
    if path is None:
        return
    path.write_text(json.dumps({"machine": this_machine() | more, **figures}, indent=1) + "\n")


def kilobytes(name: str) -> int:
    """Return a figure of this process from /proc, such as ``VmHWM``; getrusage counts what forked it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
