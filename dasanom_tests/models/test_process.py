"""A network is trained in a process of its own, with Dagster or without, and that process can be stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from dasanom_assets.definitions import build_defs
from dasanom_assets.models import checkpoints
from dasanom_assets.models.assets import _why_ended
from dasanom_assets.models.process import INTERRUPTED
from dasanom_assets.models.training_set import build_manifest
from dasanom_assets.settings import Settings, VaeSettings
from dasanom_assets.tables.store import Store
from dasanom_tests.models.test_training_set import DAYS, SETTINGS, write_day

VAE = {"latent": 4, "widths": [4, 8], "batch": 8, "learning_rate": 0.01, "kl_weight": 0.01, "max_epochs": 3}
"""A small weight, for the windows are noise, which a network better says nothing about."""
ENDLESS = VAE | {"max_epochs": 100_000, "patience": 100_000}

THROUGH_DAGSTER = """
import json, sys
import dagster as dg
from dasanom_assets.definitions import build_defs
from dasanom_assets.settings import Settings

if __name__ == "__main__":
    job = build_defs(Settings()).resolve_job_def("train")
    with dg.instance_for_test() as instance:
        asset = dg.AssetKey("vae_checkpoint")
        done = job.execute_in_process(instance=instance, asset_selection=[asset])
        event = instance.get_latest_materialization_event(asset).asset_materialization
        told = {name: str(value.value) for name, value in event.metadata.items()}
        lines = [r.event_log_entry.user_message for r in instance.get_records_for_run(done.run_id).records]
    told |= {"data_version": event.tags["dagster/data_version"], "torch": "torch" in sys.modules}
    print("TOLD " + json.dumps(told | {"lines": lines}))
"""


def prepared(root: Path) -> Store:
    """Return a data root with a live training set of a few hundred windows of 8 frames × 3 bands."""
    store = Store(str(root))
    for day in DAYS:
        write_day(store, day)
    version = checkpoints.save(store, "training_set", {}, build_manifest(store, DAYS, SETTINGS))
    checkpoints.set_latest(store, "training_set", version)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return prepared(tmp_path / "data")


def start(command: list[str], store: Store, settings: dict) -> subprocess.Popen:
    """Start a program that says its lines at once."""
    more = {"DASANOM_DATA": store.full(""), "DASANOM_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"}
    more |= {f"DASANOM_VAE__{name.upper()}": json.dumps(value) for name, value in settings.items()}
    pipe = subprocess.PIPE
    command = [sys.executable, *command]
    return subprocess.Popen(command, env=os.environ | more, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def train(store: Store, settings: dict) -> subprocess.Popen:
    return start(["-m", "dasanom_assets.models.process", "vae"], store, settings)


def wait_for(child: subprocess.Popen, line: str) -> list[str]:
    """Read what a program says until a line that holds `line`."""
    said: list[str] = []
    while not said or line not in said[-1]:
        said.append(child.stdout.readline())
        assert said[-1], said
    return said


def states(store: Store) -> list[dict]:
    return store.listing("models/vae/unfinished")


def page(store: Store) -> str:
    return store.read_bytes("reports/training/vae/index.html").decode()


def test_from_a_command_line_a_network_is_trained_drawn_and_made_live(store: Store) -> None:
    child = train(store, VAE)
    said, _ = child.communicate(timeout=240)
    assert child.returncode == 0, said
    version = checkpoints.latest(store, "vae")
    assert f"vae {version}" in said
    assert "epoch 3 of 3" in said
    assert "reports/training/vae/index.html" in said
    assert checkpoints.load(store, "vae", version)[1]["settings"]["widths"] == [4, 8]
    assert states(store) == []
    assert "epoch 3 of 3" in page(store)
    assert 'http-equiv="refresh"' not in page(store)
    assert page(store).count("data:image/png;base64,") == 3
    names = {Path(file["path"]).name for file in store.listing("reports/training/vae")}
    assert names == {"index.html", "loss.png", "reconstructions.png", "latent_space.png"}


def test_a_training_told_to_end_goes_on_to_the_very_checkpoint_of_one_that_was_not(
    store: Store, tmp_path: Path
) -> None:
    settings = VAE | {"max_epochs": 6, "patience": 6}
    child = train(store, settings)
    wait_for(child, "epoch 1 of 6")
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=240)[0]
    assert child.returncode == INTERRUPTED, said
    assert "run it again with the same settings" in said
    assert len(states(store)) == 1
    assert checkpoints.latest(store, "vae") is None
    assert ": interrupted</h1>" in page(store)
    assert 'http-equiv="refresh"' not in page(store)

    again = train(store, settings)
    said = again.communicate(timeout=240)[0]
    assert again.returncode == 0, said
    assert "going on from where" in said
    assert "epoch 1 of 6" not in said
    whole = prepared(tmp_path / "whole")
    assert train(whole, settings).wait(240) == 0
    assert checkpoints.latest(store, "vae") == checkpoints.latest(whole, "vae") is not None


def test_what_goes_wrong_is_said_and_other_settings_begin_anew(store: Store) -> None:
    child = train(store, ENDLESS)
    wait_for(child, "epoch 1 of")
    child.kill()
    child.communicate()
    assert len(states(store)) == 1
    said = train(store, VAE).communicate(timeout=240)[0]
    assert "going on" not in said
    assert len(states(store)) == 1  # of the other settings, still

    write_day(store, DAYS[1])
    store.write_day("background", DAYS[1], store.read_day("background", DAYS[1]).slice(1))
    child = train(store, VAE | {"seed": 1})
    said = child.communicate(timeout=240)[0]
    assert child.returncode == 1
    assert "materialize training_set again" in said


def test_a_collapsed_network_is_stored_but_not_made_live(store: Store) -> None:
    crushed = VAE | {"kl_weight": 1e4, "warm_up_share": 0.0}
    child = train(store, crushed)
    said = child.communicate(timeout=240)[0]
    assert child.returncode == 0, said
    assert "0 of 4 units active" in said
    assert checkpoints.latest(store, "vae") is None
    (version,) = (name for name in store.folders("models/vae") if name != "unfinished")
    assert checkpoints.load(store, "vae", version)[1]["collapsed"]


def test_dagster_trains_in_a_process_that_tells_it_all(store: Store) -> None:
    child = start(["-c", THROUGH_DAGSTER], store, VAE)
    said = child.communicate(timeout=240)[0]
    assert child.returncode == 0, said
    reported = json.loads(next(line for line in said.splitlines() if line.startswith("TOLD "))[5:])
    version = checkpoints.latest(store, "vae")
    assert reported["version"] == version
    assert reported["data_version"] == checkpoints.digest(store, "vae", version)
    assert reported["torch"] is False
    assert reported["epochs"] == "3"
    assert len(json.loads(reported["kl_per_dimension"])) == 4
    assert store.read_bytes(f"reports/training/vae/version={version}/loss.png").startswith(b"\x89PNG")
    assert reported["loss"].endswith(f"reports/training/vae/version={version}/loss.png")
    assert {
        "reconstructions",
        "latent_space",
        "device",
        "validation_loss",
        "active_units",
        "collapsed",
    } <= reported.keys()
    assert [line.split(":")[0] for line in reported["lines"] if line.startswith("epoch")] == [
        f"epoch {n} of 3" for n in (1, 2, 3)
    ]


def processes(parts: str) -> list[int]:
    """Return the ids of the training processes that have a data root."""
    result = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "dasanom_assets.models.process" in command and any(parts in argument for argument in command):
            result.append(int(folder.name))
    return result


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_when_dagsters_step_is_ended_the_training_saves_and_leaves(number: signal.Signals, store: Store) -> None:
    step = start(["-c", THROUGH_DAGSTER], store, ENDLESS)
    wait_for(step, "epoch 1 of")
    assert len(processes(store.full(""))) == 1
    step.send_signal(number)
    deadline = time.monotonic() + 240
    while processes(store.full("")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    said = step.communicate(timeout=240)[0]
    assert step.returncode != 0, said
    assert len(states(store)) == 1
    assert checkpoints.latest(store, "vae") is None


class Instead(dg.PipesSubprocessClient):
    """A client that runs another program than it is asked to."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.program = program

    def run(self, *, context, command, **more):
        return super().run(context=context, command=[sys.executable, "-c", self.program], **more)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "import os; os.kill(os.getpid(), 9)",
            "SIGKILL ended the training, perhaps for want of memory: materialize",
        ),
        ("import sys; sys.exit(75)", "was told to stop: materialize vae_checkpoint again"),
        ("import sys; sys.exit('broken')", "the training failed: the log above says why"),
    ],
)
def test_a_process_that_ends_without_a_network_is_an_error_that_says_what_to_do(
    program: str, message: str, store: Store
) -> None:
    built = build_defs(resources={"store": store, "pipes": Instead(program)})
    job = built.resolve_job_def("train")
    with dg.instance_for_test() as instance, pytest.raises(dg.Failure, match=message):
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("vae_checkpoint")])


def test_what_was_trained_is_known_though_every_message_of_it_is_lost(store: Store) -> None:
    class Deaf(dg.PipesSubprocessClient):
        """A client whose child's messages are lost, as on a machine that is too busy to read them whole."""

        def run(self, *, context, command, **more):
            return super().run(context=context, command=["env", "-u", "DAGSTER_PIPES_CONTEXT", *command], **more)

    settings = Settings(data=store.full(""), vae=VaeSettings(**VAE))
    built = build_defs(resources={"store": store, "pipes": Deaf(), "settings": settings})
    with dg.instance_for_test() as instance:
        asset = dg.AssetKey("vae_checkpoint")
        done = built.resolve_job_def("train").execute_in_process(instance=instance, asset_selection=[asset])
        event = instance.get_latest_materialization_event(asset).asset_materialization
        messages = [r.event_log_entry.user_message for r in instance.get_records_for_run(done.run_id).records]
    assert not any(line.startswith("epoch 1") for line in messages)
    assert event.metadata["version"].value == checkpoints.latest(store, "vae")
    assert event.metadata["epochs"].value == 3


def test_an_outcome_of_another_training_is_none_of_this_one(store: Store) -> None:
    version = checkpoints.save(store, "vae", {}, {})
    checkpoints.set_outcome(store, "vae", {"version": version, "training_set": "a", "settings": {"seed": 0}})
    assert checkpoints.outcome(store, "vae", "a", {"seed": 0})["version"] == version
    for other in (("b", {"seed": 0}), ("a", {"seed": 1})):
        with pytest.raises(checkpoints.CheckpointError, match="without a network"):
            checkpoints.outcome(store, "vae", *other)


def test_without_a_training_set_nothing_is_started(tmp_path: Path) -> None:
    built = build_defs(resources={"store": Store(str(tmp_path)), "pipes": Instead("raise SystemExit('started')")})
    job = built.resolve_job_def("train")
    with (
        dg.instance_for_test() as instance,
        pytest.raises(checkpoints.CheckpointError, match="materialize training_set first"),
    ):
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("vae_checkpoint")])


def test_a_signal_is_named_and_a_status_is_not_taken_for_one() -> None:
    assert _why_ended("a", "failed with code -15").startswith("SIGTERM ended the training: materialize a again")
    assert "(failed with code 1)" in _why_ended("a", "failed with code 1")
