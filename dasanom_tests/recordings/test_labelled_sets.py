"""Labelled sets: what their folders say, and that a bad file is left out with a reason while the rest goes on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.io import savemat

from dasanom_assets.recordings.labelled_sets import BJTU_SHAPE, BadClipError, Group, LabelledSet

RATE = 16_000


def noise(seconds: float = 1, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * RATE), channels)).astype(np.float32)


def sound(path: Path, channels: int = 1, rate: int = RATE, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(1, channels, seed), rate, subtype="PCM_16")
    return path


def read_all(dataset: LabelledSet) -> tuple[list, dict[str, str]]:
    reasons: dict[str, str] = {}
    clips = list(dataset.clips(dataset.files(), lambda path, reason: reasons.__setitem__(path.name, reason)))
    return clips, reasons


def test_the_folders_of_mimii_say_group_and_label(tmp_path: Path) -> None:
    for snr, machine, name, label in [
        ("6_dB", "fan", "id_00", "normal"),
        ("6_dB", "fan", "id_00", "abnormal"),
        ("-6_dB", "valve", "id_02", "normal"),
    ]:
        sound(tmp_path / snr / machine / name / label / "0.wav")
    (tmp_path / "6_dB" / "fan" / "id_00" / "normal" / ".DS_Store").write_bytes(b"x")
    files = LabelledSet(tmp_path).files()
    assert [(file.group, file.label) for file in files] == [
        (Group("fan", "id_00", "6_dB"), "abnormal"),
        (Group("fan", "id_00", "6_dB"), "normal"),
        (Group("valve", "id_02", "-6_dB"), "normal"),
    ]
    assert [f.group.machine for f in LabelledSet(tmp_path, snrs=("-6_dB",)).files()] == ["valve"]
    assert [f.group.machine for f in LabelledSet(tmp_path, machines=("fan",), ids=("id_00",)).files()] == [
        "fan"
    ] * 2


def test_microphones_are_chosen_by_number_and_all_by_default(tmp_path: Path) -> None:
    path = sound(tmp_path / "6_dB" / "fan" / "id_00" / "normal" / "0.wav", channels=8)
    (file,) = LabelledSet(tmp_path).files()
    (whole,) = LabelledSet(tmp_path).read(file)
    assert whole.samples.shape == (8, RATE)
    assert whole.quantization == 2**-15
    (chosen,) = LabelledSet(tmp_path, channels=(5, 2)).read(file)
    assert np.array_equal(chosen.samples, whole.samples[[5, 2]])
    assert np.array_equal(whole.samples.T, soundfile.read(path, dtype="float32")[0])
    with pytest.raises(BadClipError, match="8 channels, so there is none with number 8"):
        LabelledSet(tmp_path, channels=(8,)).read(file)


def test_a_bad_sound_is_left_out_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "6_dB" / "fan" / "id_00" / "normal"
    good = sound(folder / "good.wav")
    (folder / "empty.wav").touch()
    (folder / "truncated.wav").write_bytes(good.read_bytes()[:9000])
    (folder / "foreign.wav").write_text("no sound at all")
    (folder / "notes.txt").write_text("read me")
    sound(folder / "rate.wav", rate=8000)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "none.wav", np.zeros(0), RATE)
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    dataset = LabelledSet(tmp_path)
    clips, reasons = read_all(dataset.with_rate(dataset.files()))
    assert [clip.path.name for clip in clips] == ["good.wav"]
    words = {
        "empty.wav": "empty",
        "truncated.wav": "truncated: 9,000 of 32,044 bytes",
        "foreign.wav": "not a sound file",
        "notes.txt": "not a sound file",
        "rate.wav": "8000 Hz, not 16000 Hz",
        "silent.wav": "silent",
        "none.wav": "no samples",
        "nan.wav": "no finite numbers",
    }
    assert reasons.keys() == words.keys()
    assert all(words[name] in reason for name, reason in reasons.items())


def test_events_of_bjtu_are_read_from_their_class_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, folder in [("train", "01_backgroud"), ("test", "01_background"), ("train", "02_dig")]:
        (tmp_path / split / folder).mkdir(parents=True)
        savemat(tmp_path / split / folder / f"{split}.mat", {"data": rng.normal(size=BJTU_SHAPE)})
    bad = tmp_path / "train" / "02_dig"
    savemat(bad / "shape.mat", {"data": np.zeros((10, 12))})
    savemat(bad / "other.mat", {"x": np.zeros((10, 12))})
    (bad / "cut.mat").write_bytes((bad / "train.mat").read_bytes()[:5000])
    dataset = LabelledSet(tmp_path, "bjtu", rate=500.0)
    clips, reasons = read_all(dataset)
    assert [(clip.label, dataset.is_normal(clip.label)) for clip in clips] == [
        ("backgroud", True),
        ("background", True),
        ("dig", False),
    ]
    assert {clip.samples.shape for clip in clips} == {(12, 10_000)}
    assert {clip.rate for clip in clips} == {500.0}
    assert "(10, 12)" in reasons["shape.mat"]
    assert "no variable named data" in reasons["other.mat"]
    assert "truncated" in reasons["cut.mat"]
    assert dataset.with_rate([]).rate == 500.0
    assert LabelledSet(tmp_path, "bjtu").with_rate([]).rate == 1000.0


def test_das_files_of_any_make_are_clips_of_their_folder(samples: Path, tmp_path: Path) -> None:
    for label, name in [
        ("normal", "gdr_1.h5"),
        ("normal", "febus_2.h5"),
        ("normal", "valencia_febus_example.h5"),
        ("abnormal", "iDAS005_hdf5_example.626.h5"),
        ("abnormal", "decimated_optodas.hdf5"),
    ]:
        (tmp_path / label).mkdir(exist_ok=True)
        shutil.copy(samples / "das" / name, tmp_path / label)
    (tmp_path / "abnormal" / "broken.h5").write_bytes((samples / "das" / "gdr_1.h5").read_bytes()[:2000])
    (tmp_path / "abnormal" / "words.txt").write_text("no recording")
    clips, reasons = read_all(LabelledSet(tmp_path, "das"))
    assert {(clip.path.name, clip.label, round(clip.rate), clip.samples.shape) for clip in clips} == {
        ("gdr_1.h5", "normal", 1000, (10, 10_000)),
        ("valencia_febus_example.h5", "normal", 250, (100, 1250)),
        ("iDAS005_hdf5_example.626.h5", "abnormal", 1000, (1152, 1000)),
        ("decimated_optodas.hdf5", "abnormal", 500, (51, 5000)),
    }
    assert reasons.keys() == {"broken.h5", "words.txt", "febus_2.h5"}
    assert reasons["febus_2.h5"] == "samples that are no finite numbers"
    dataset = LabelledSet(tmp_path, "das", rate=1000.0)
    clips, reasons = read_all(dataset)
    assert {clip.path.name for clip in clips} == {"gdr_1.h5", "iDAS005_hdf5_example.626.h5"}
    assert reasons["decimated_optodas.hdf5"] == "sampling rate 500 Hz, not 1000 Hz"
    # Without one it is that of the first file that can be read.
    assert LabelledSet(tmp_path, "das").with_rate(dataset.files()).rate == pytest.approx(500)


def test_a_das_file_that_ends_its_reader_is_left_out(samples: Path, tmp_path: Path) -> None:
    content = bytearray((samples / "das" / "deformation_rate_event_1.hdf5").read_bytes())
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal" / "good.hdf5").write_bytes(content)
    content[4963] = 229
    (tmp_path / "normal" / "crash.hdf5").write_bytes(content)
    clips, reasons = read_all(LabelledSet(tmp_path, "das"))
    assert [clip.path.name for clip in clips] == ["good.hdf5"]
    assert "damaged" in reasons["crash.hdf5"]


def test_pieces_of_a_das_file_are_a_clip_each(tmp_path: Path) -> None:
    import dascore as dc

    (tmp_path / "normal").mkdir()
    patches = [
        dc.Patch(
            np.random.default_rng(number).normal(size=(50, 2 + number)).astype("f4"),
            {"time": np.arange(50) * np.timedelta64(10, "ms"), "distance": np.arange(2.0 + number)},
            ("time", "distance"),
            attrs={"tag": f"piece{number}"},
        )
        for number in range(2)
    ]
    dc.write(dc.spool(patches), tmp_path / "normal" / "both.h5", "dasdae")
    clips, reasons = read_all(LabelledSet(tmp_path, "das"))
    assert reasons == {}
    assert {clip.samples.shape: clip.rate for clip in clips} == {(2, 50): 100, (3, 50): 100}
    for clip in clips:
        np.testing.assert_array_equal(clip.samples.T, patches[len(clip.samples) - 2].data)


def test_a_folder_without_the_layout_is_refused_with_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"wants <snr>/<machine>/<id>"):
        LabelledSet(tmp_path).files()
    with pytest.raises(FileNotFoundError, match="not a folder"):
        LabelledSet(tmp_path / "nowhere").files()
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal" / "words.txt").write_text("no recording")
    dataset = LabelledSet(tmp_path, "das")
    with pytest.raises(ValueError, match=r"none of 1 files .* can be read \(words.txt: not a recording"):
        dataset.with_rate(dataset.files())
