"""A training takes its share of the cores, and waits where all shares are taken."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from dask.system import cpu_count

from dasanom_assets.models.cores import TRAININGS, share_of_cores, training_threads


def test_threads_are_a_share_of_the_cores_that_the_process_may_use() -> None:
    program = "from dasanom_assets.models.cores import training_threads; print(training_threads())"
    core = str(min(os.sched_getaffinity(0)))
    pinned = subprocess.run(
        ["taskset", "-c", core, sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(pinned.stdout) == 1
    assert 1 <= training_threads() <= max(1, len(os.sched_getaffinity(0)) // TRAININGS)


def test_waiting_threads_sleep_in_every_process_of_the_package() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    program = "import os, dasanom_assets; print(os.environ['OMP_WAIT_POLICY'])"
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "PASSIVE"


def test_a_training_waits_for_a_share_says_so_and_takes_it_when_it_is_free(tmp_path: Path) -> None:
    said: list[str] = []
    waiting, begun = threading.Event(), threading.Event()

    def train() -> None:
        with share_of_cores(lambda line: (said.append(line), waiting.set()), folder=tmp_path):
            begun.set()

    held = [share_of_cores(said.append, folder=tmp_path) for _ in range(min(TRAININGS, cpu_count()))]
    for share in held:
        share.__enter__()
    assert said == []
    other = threading.Thread(target=train)
    other.start()
    assert waiting.wait(30)
    assert not begun.is_set()
    held.pop().__exit__(None, None, None)
    assert begun.wait(30)
    other.join()
    for share in held:
        share.__exit__(None, None, None)
    assert len(said) == 1
    assert "trainings are at work" in said[0]


def test_a_wait_ends_where_the_training_is_told_to_stop(tmp_path: Path) -> None:
    held = [share_of_cores(print, folder=tmp_path) for _ in range(min(TRAININGS, cpu_count()))]
    for share in held:
        share.__enter__()
    with share_of_cores(lambda line: None, stop=lambda: True, folder=tmp_path):
        pass
    for share in held:
        share.__exit__(None, None, None)
