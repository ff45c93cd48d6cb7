"""How soon the alarms of a file are in the table once it is closed: daemon, sensor, queue and launch included."""

import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from dasanom_assets.benchmarks.season_plan import Clock
from dasanom_assets.benchmarks.servers import free_port
from dasanom_assets.benchmarks.simulated_day import CHANNELS, DAY, LEARNED, MINUTES, enlarged
from dasanom_assets.detection.events.so_far import so_far
from dasanom_assets.orchestration.run import PROJECT, wait_until_loaded
from dasanom_assets.orchestration.services import services
from dasanom_assets.tables.store import Store

FILES = 2
"""The first of a day, and one that follows another."""
PATIENCE_S = 600.0


def of_closed(folder: Path, rate_hz: int) -> dict[str, float]:
    """Return the seconds from the last change of a file until `events_so_far` has heard it, file by file.

    Each holds ten minutes of 64 channels. What `make run` starts is at work on a root with a model and its days of
    training, and goes by a clock that shows the end of each file.

    Parameters
    ----------
    folder : pathlib.Path
        See `enlarged`.
    rate_hz : int

    Raises
    ------
    TimeoutError
        Where nothing comes of a file.
    """
    source, laps = enlarged(folder, CHANNELS, FILES * MINUTES / 60, rate_hz), {}
    given = source / "landing" / DAY
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dasanom-closed-")))
        root, home = top / "data", top / "home"
        for part in ("models", "tables"):
            shutil.copytree(source / part, root / part, ignore=shutil.ignore_patterns(f"day={DAY}"))
        (root / "landing" / DAY).mkdir(parents=True)
        home.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", home)
        midnight = datetime.fromisoformat(DAY).replace(tzinfo=UTC)
        clock = Clock(top / "clock", midnight)
        own = {"DAGSTER_HOME": str(home), "DASANOM_DATA": str(root), "DASANOM_FIRST_DAY": LEARNED[0]}
        stack.enter_context(patch.dict(os.environ, own | clock.preload(top)))
        store, port = Store(str(root)), free_port()
        _, log = stack.enter_context(services(port))
        wait_until_loaded(port, log)
        for number in range(FILES):
            start = midnight + timedelta(minutes=MINUTES * number)
            clock.set(start + timedelta(minutes=MINUTES))
            stem = f"_{start:%Y%m%dT%H%M%S}."
            for path in (path for path in given.rglob(f"*{stem}*") if path.is_file()):
                target = root / "landing" / DAY / path.relative_to(given)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
                changed = clock.now().timestamp()
                os.utime(target, (changed, changed))
            began = time.perf_counter()
            while not any(f"{stem}bin" in path for path in so_far(store, DAY)[1].get("files", {})):
                if time.perf_counter() - began > PATIENCE_S:
                    raise TimeoutError(
                        f"file {number + 1} is not heard after {PATIENCE_S:.0f} s; log: {log.read_text()}"
                    )
                time.sleep(0.1)
            laps[f"file_{number + 1}"] = time.perf_counter() - began
        laps["events"] = float(so_far(store, DAY)[0].num_rows)
    return laps
