"""The files of a simulated day: vendor bundles, and the contractor's files beside them."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from dasanom_assets.recordings.simulation.contractor import LAG_ROWS
from dasanom_assets.recordings.simulation.plans import ROWS_PER_SECOND
from dasanom_assets.recordings.simulation.sites import Line


class BundleWriter:
    """Cuts the stream of a day into bundles of files.

    Parameters
    ----------
    line : Line
    began : datetime.datetime
        Time of the first sample.
    folder : pathlib.Path
        Where the files go.
    """

    def __init__(self, line: Line, began: datetime, folder: Path) -> None:
        self.line, self.began, self.folder = line, began, folder
        self.seconds = 0
        self._file_seconds = round(line.file_minutes * 60)
        self._stem = ""
        self._power: list[np.ndarray] = []

    def write(self, block: np.ndarray, probability: np.ndarray | None) -> None:
        """Append a block of whole seconds, shape (n_channels, samples), and the contractor's view of it."""
        rate, done = self.line.sampling_rate_hz, 0
        samples = np.clip(np.rint(block), -32768, 32767).astype("<i2").T
        total = len(samples) // rate
        while done < total:
            in_file = self.seconds % self._file_seconds
            if not in_file:
                self._begin_file()
            count = min(total - done, self._file_seconds - in_file)
            part = np.ascontiguousarray(samples[done * rate : (done + count) * rate])
            _append(self.folder / f"{self._stem}.bin", part)
            if probability is not None:
                rows = probability[done * ROWS_PER_SECOND : (done + count) * ROWS_PER_SECOND]
                missing = max(LAG_ROWS - in_file * ROWS_PER_SECOND, 0)
                _append(self._contractor_file("prob.prob"), rows[missing:].astype("<f4"))
                signal = part.reshape(count * ROWS_PER_SECOND, -1, part.shape[1]).astype(np.float32)
                self._power.append(np.einsum("rnc,rnc->rc", signal, signal) / signal.shape[1])
            done += count
            self.seconds += count
            if self._power and (self.seconds % self._file_seconds == 0 or self.seconds == self.line.seconds):
                power = np.concatenate(self._power)
                self._power.clear()
                # Each channel's power as a share of its largest in the file.
                both = np.stack([power, power / np.maximum(power.max(0), np.finfo(np.float32).tiny)])
                _append(self._contractor_file("power.pow"), both.astype("<f4"))

    def _begin_file(self) -> None:
        line, start = self.line, self.began + timedelta(seconds=self.seconds)
        self._stem = f"{line.fibre}_{start:%Y%m%dT%H%M%S}"
        sidecar = {
            "selected_channel_zones": line.zones,
            "number_of_channels_in_one_sample": len(line.channels),
            "sampling_rate_hz": line.sampling_rate_hz,
            "sample_format": "int16",
            "start_time": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "fibre": line.fibre,
            "channel_spacing_m": line.channel_spacing_m,
            "gauge_length_m": line.gauge_length_m,
            "interrogator": "simulated",
        }
        (self.folder / f"{self._stem}.bin.info").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")

    def _contractor_file(self, suffix: str) -> Path:
        return self.folder / "Model1" / f"{self._stem}.bin_{suffix}"


def _append(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as sink:
        sink.write(np.ascontiguousarray(values).data)
