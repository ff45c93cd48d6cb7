"""A stored model is what was written or an error, and the live one is the one that was named."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from dasanom_assets.models.checkpoints import (
    CODE,
    CheckpointError,
    digest,
    latest,
    live,
    live_set,
    load,
    require_latest,
    save,
    set_latest,
    set_live,
)
from dasanom_assets.tables.store import Store

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, np.int64)}
NOTE = {"days": ["2026-01-05"], "loss": 0.1 + 0.2, "nested": {"widths": [4, 8]}}


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}-{id(tmp_path)}")


def test_a_model_comes_back_as_it_was(store: Store) -> None:
    version = save(store, "net", TENSORS, NOTE)
    tensors, description = load(store, "net", version)
    assert description == NOTE
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], value, strict=True)


@settings(deadline=None, max_examples=25)
@given(
    tensors=st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        hnp.arrays(st.sampled_from([np.float32, np.float64, np.int32, np.bool_]), hnp.array_shapes(min_dims=0)),
        max_size=3,
    ),
    description=st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    ),
)
def test_any_tensors_and_any_json_come_back(tensors: dict, description: dict) -> None:
    store = Store("memory://checkpoints-any")
    back, note = load(store, "net", save(store, "net", tensors, description))
    assert note == description
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value, strict=True)


def test_torch_tensors_and_strides_do_not_change_what_is_stored(store: Store) -> None:
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    as_torch = save(store, "net", {"w": image.to(memory_format=torch.channels_last)}, {})
    as_numpy = save(store, "net", {"w": image.numpy()}, {})
    assert as_torch == as_numpy
    np.testing.assert_array_equal(load(store, "net", as_torch)[0]["w"], image.numpy())


def test_keys_and_tuples_are_stored_as_json_has_them(store: Store) -> None:
    version = save(store, "net", {}, {"widths": (1, 2), "by_class": {10: "a", 2: "b"}})
    assert load(store, "net", version) == ({}, {"widths": [1, 2], "by_class": {"10": "a", "2": "b"}})


def test_the_version_names_the_content(store: Store) -> None:
    version = save(store, "net", TENSORS, NOTE)
    assert save(store, "net", dict(reversed(TENSORS.items())), dict(reversed(NOTE.items()))) == version
    assert store.folders("models/net") == [version]
    assert save(store, "net", {**TENSORS, "b": np.array(8)}, NOTE) != version
    assert save(store, "net", TENSORS, {**NOTE, "loss": 0.3}) != version
    assert digest(store, "net", version).startswith(f"sha256:{version}")
    assert len(digest(store, "net", version)) == len("sha256:") + 64


def test_the_files_are_plain_safetensors_and_json(tmp_path: Path) -> None:
    version = save(Store(str(tmp_path)), "net", TENSORS, NOTE)
    folder = tmp_path / "models" / "net" / version
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((folder / "model.json").read_text())["description"] == NOTE
    with safe_open(folder / "model.safetensors", "np") as file:
        assert set(file.keys()) == {"a", "b"}


@pytest.mark.parametrize("file", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_noticed_and_never_made_live(store: Store, file: str, damage: str) -> None:
    good = save(store, "net", TENSORS, {})
    set_latest(store, "net", good)
    version = save(store, "net", TENSORS, NOTE)
    path = f"models/net/{version}/{file}"
    content = bytearray(store.read_bytes(path))
    # A digit of "2026" in the description, or a byte of a tensor.
    position = content.index(b"2026") if file == "model.json" else len(content) - 1
    content[position] ^= 1
    if damage == "gone":
        store.fs.rm(store.full(path))
    else:
        store.write_bytes(path, bytes(content) if damage == "flipped" else bytes(content[: len(content) // 2]))
    with pytest.raises(CheckpointError, match=version):
        load(store, "net", version)
    with pytest.raises(CheckpointError):
        set_latest(store, "net", version)
    assert latest(store, "net") == good


def test_a_model_of_other_code_is_refused_in_words_and_never_made_live(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = save(store, "vae", TENSORS, NOTE)
    set_live(store, {"vae": version})
    monkeypatch.setitem(CODE, "vae", "after")
    for attempt in (load, set_latest):
        with pytest.raises(
            CheckpointError, match="made by code 1, which is after now: materialize vae_checkpoint"
        ):
            attempt(store, "vae", version)
    newer = save(store, "vae", TENSORS, NOTE)
    assert newer != version
    assert load(store, "vae", newer)[1] == NOTE
    with pytest.raises(CheckpointError, match=version):
        set_live(store, {"vae": version})


def test_a_code_version_that_was_edited_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    version = save(store, "vae", TENSORS, NOTE)
    path = f"models/vae/{version}/model.json"
    store.write_json(path, store.read_json(path) | {"code": "after"})
    monkeypatch.setitem(CODE, "vae", "after")
    with pytest.raises(CheckpointError, match=r"model\.json is not what was written"):
        load(store, "vae", version)


def test_saving_again_heals_a_damaged_model(store: Store) -> None:
    version = save(store, "net", TENSORS, NOTE)
    store.write_bytes(f"models/net/{version}/model.safetensors", b"")
    assert save(store, "net", TENSORS, NOTE) == version
    assert load(store, "net", version)[1] == NOTE


def test_the_latest_model_is_the_one_that_was_named_not_the_newest(store: Store) -> None:
    assert latest(store, "net") is None
    with pytest.raises(CheckpointError, match="no net yet: train one first"):
        require_latest(store, "net", "train one first")
    old, new = save(store, "net", TENSORS, {"n": 1}), save(store, "net", TENSORS, {"n": 2})
    set_latest(store, "net", new)
    set_latest(store, "net", old)
    assert latest(store, "net") == require_latest(store, "net", "") == old
    save(store, "net", TENSORS, {"n": 3})
    assert latest(store, "net") == old


def test_models_that_belong_together_are_made_live_at_once_or_not_at_all(store: Store) -> None:
    assert live_set(store) == {}
    first = {name: save(store, name, TENSORS, {"of": name}) for name in ("net", "other")}
    set_live(store, first)
    assert live_set(store) == first
    assert live(store, "other") == first["other"]
    assert live(store, "third") is None
    newer = save(store, "net", TENSORS, {"n": 2})
    with pytest.raises(CheckpointError, match="no other 0123"):
        set_live(store, {"net": newer, "other": "0123"})
    assert live_set(store) == first
    set_live(store, {"net": newer})
    assert live_set(store) == {"net": newer}  # what does not belong to it is not live with it


def test_what_is_not_there_cannot_be_loaded_or_made_live(store: Store) -> None:
    for attempt in (load, digest, set_latest):
        with pytest.raises(CheckpointError, match="no net 0123"):
            attempt(store, "net", "0123")
    assert latest(store, "net") is None


def test_a_description_that_is_not_json_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(TypeError):
        save(store, "net", TENSORS, {"settings": object()})
    assert store.folders("models/net") == []


SAVE_FOR_EVER = """
import sys, itertools, numpy as np
from dasanom_assets.models.checkpoints import save, set_latest
from dasanom_assets.tables.store import Store
store = Store(sys.argv[1])
for n in itertools.count(int(sys.argv[2])):
    set_latest(store, "net", save(store, "net", {"w": np.full((400, 500), n, float)}, {"n": n}))
"""


def test_a_killed_writer_leaves_a_live_model_that_loads(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    rng = np.random.default_rng(0)
    version = None
    for first in (0, 1_000_000, 2_000_000):
        before = version
        with subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path), str(first)]) as writer:
            while latest(store, "net") == before:
                assert writer.poll() is None
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.2))
            writer.kill()
        version = latest(store, "net")
        tensors, description = load(store, "net", version)
        assert description["n"] >= first
        assert (tensors["w"] == description["n"]).all()
