"""What a benchmark ran on, kept beside its figures."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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


def this_machine() -> dict[str, Any]:
    """Return the processor, its cores, Python's version and the date."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def processor() -> str:
    """Return the name of the processor, or of its kind where the system does not tell."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def kilobytes(name: str) -> int:
    """Return a figure of this process from /proc, such as ``VmHWM``; getrusage counts what forked it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
