"""What figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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
