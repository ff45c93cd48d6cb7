"""How the gain of an interrogator changes, from day to day and within a day."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Gain(BaseModel):
    """How the gain of an interrogator changes; spreads are standard deviations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day_db: float = Field(0.0, ge=0, description="spread of the whole line over days")
    stretch_db: float = Field(0.0, ge=0, description="spread of each stretch over days, beside that of the line")
    stretch_channels: int = Field(20, ge=1, description="channels of a stretch")
    steps_per_hour: float = Field(0.0, ge=0, description="how often the interrogator is retuned within a day")
    step_db: float = Field(0.0, ge=0, description="spread of such a step")


class Gains:
    """The gains of a day.

    Parameters
    ----------
    gain : Gain
    seed : tuple of int
        Of the fibre and the day.
    n_channels : int
    seconds : float
        Length of the recordings.

    Attributes
    ----------
    offset_db : numpy.ndarray
        float64, shape (n_channels,): the gain of each channel at the start.
    steps_s : numpy.ndarray
        float64, ascending: when the gain of the whole line changes, seconds after the start.
    level_db : numpy.ndarray
        float64, one more than `steps_s`: what is added to `offset_db` before the first step and after each.
    """

    def __init__(self, gain: Gain, seed: tuple[int, ...], n_channels: int, seconds: float) -> None:
        rng = np.random.default_rng(seed)
        stretches = rng.normal(0, gain.stretch_db, -(-n_channels // gain.stretch_channels))
        self.offset_db = rng.normal(0, gain.day_db) + np.repeat(stretches, gain.stretch_channels)[:n_channels]
        self.steps_s = np.sort(rng.uniform(0, seconds, rng.poisson(gain.steps_per_hour * seconds / 3600)))
        self.level_db = np.append(0.0, np.cumsum(rng.normal(0, gain.step_db, len(self.steps_s))))

    def apply(self, block: np.ndarray, first_sample: int, rate: int) -> None:
        """Amplify a block that starts at `first_sample`; changes the block."""
        seconds = (first_sample + np.arange(block.shape[1])) / rate
        level_db = self.level_db[np.searchsorted(self.steps_s, seconds, side="right")]
        block *= (10 ** (self.offset_db / 20)).astype(np.float32)[:, None]
        block *= (10 ** (level_db / 20)).astype(np.float32)
