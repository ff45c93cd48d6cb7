"""Sound of four machines with planted faults: what a detector can be measured on without a download.

``dasanom bench machines <root>`` writes WAV files in the layout of MIMII. A machine of an id
has a character of its own (speed, resonances); each clip of it another pace and loudness, in another stretch of a
factory's noise. Faults change a part of the sound and leave its loudness within what clips differ by anyway.
Sounds are plausible, not measured: they give a direction, not a result to publish.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import signal
from tqdm import tqdm

from dasanom_assets.recordings.simulation.noise import band_noise

RATE = 16_000
LOUDNESS_DB = 1.5
"""Standard deviation of the loudness of the machine, and of the factory, from clip to clip."""
PACE = 0.015
"""Standard deviation of the pace of a machine from clip to clip, as a share."""
FULL_SCALE = 0.05
"""Root mean square of the machine at its usual loudness, of full scale."""


@dataclass(frozen=True)
class Character:
    """What makes a machine of one id: drawn once.

    Attributes
    ----------
    shaft_hz : float
        Turns, or strokes, a second.
    resonance_hz : float
        Where its body rings.
    weights : numpy.ndarray
        float64, shape (24,): amplitudes of harmonics, before they fall with their number.
    motors_hz : numpy.ndarray
        float64, shape (3,): turns a second of other motors near it.
    """

    shaft_hz: float
    resonance_hz: float
    weights: np.ndarray
    motors_hz: np.ndarray


Machine = Callable[[Character, np.random.Generator, int, str], np.ndarray]
"""Returns the sound of a clip, shape (n,): character, generator, samples, fault (empty: none)."""


def _turns(rng: np.random.Generator, n: int, hertz: float, wander: float = 0.002) -> np.ndarray:
    """Return the turns of a shaft since the start, float64, shape (n,), about `hertz` a second."""
    knots = rng.normal(0, wander, n // RATE + 2)
    slow = np.interp(np.arange(n) / RATE, np.arange(len(knots)), knots)
    return rng.random() + np.cumsum(hertz * (1 + rng.normal(0, PACE)) * (1 + slow)) / RATE


def _harmonics(turns: np.ndarray, weights: np.ndarray, fall: float) -> np.ndarray:
    """Return harmonics of a turning part that fall as a power of their number."""
    return sum(w / k**fall * np.sin(2 * np.pi * k * turns + 1.7 * k) for k, w in enumerate(weights, 1))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2))


def _ringing(strikes: np.ndarray, strength: np.ndarray, n: int, hertz: float, decay_s: float) -> np.ndarray:
    """Return a resonance struck at some samples, shape (n,)."""
    inside = (strikes >= 0) & (strikes < n)
    train = np.zeros(n)
    np.add.at(train, strikes[inside], strength[inside])
    t = np.arange(int(6 * decay_s * RATE)) / RATE
    return signal.oaconvolve(train, np.exp(-t / decay_s) * np.sin(2 * np.pi * hertz * t))[:n]


def fan(character: Character, rng: np.random.Generator, n: int, fault: str) -> np.ndarray:
    """Blades that pass, and the wind they make; `imbalance`, `bearing`, `loose_blade`."""
    turns = _turns(rng, n, character.shaft_hz)
    blades = _unit(_harmonics(6 * turns, character.weights[:12], 1.0))
    wind = band_noise(rng, n, RATE, (150, 2500))[0] * (1 + 0.15 * np.sin(2 * np.pi * 6 * turns))
    if fault == "imbalance":  # the rotor sways
        blades = blades * (1 + rng.uniform(0.35, 0.6) * np.sin(2 * np.pi * turns / 6))
    sound = blades + 0.8 * _unit(wind)
    if fault == "bearing":  # the outer race of nine balls: 3.6 strikes a turn
        strikes = _crossings(3.6 * turns)
        strength = rng.uniform(0.7, 1.3, len(strikes))
        sound += rng.uniform(0.1, 0.2) * _unit(
            _ringing(strikes, strength, n, 3200 + character.resonance_hz, 0.002)
        )
    if fault == "loose_blade":  # rattles now and then
        gate = _bursts(rng, n, per_second=0.7, seconds=0.5)
        strikes = _crossings(2 * turns)
        rattle = _unit(_ringing(strikes, np.ones(len(strikes)), n, 1400 + character.resonance_hz, 0.006))
        sound += rng.uniform(0.5, 0.8) * gate * rattle
    return sound


def pump(character: Character, rng: np.random.Generator, n: int, fault: str) -> np.ndarray:
    """A motor's hum, vanes, and water; `cavitation`, `leak`, `worn_vane`."""
    turns = _turns(rng, n, character.shaft_hz)
    hum = _harmonics(np.arange(n) / RATE * 100 + rng.random(), character.weights[:6], 1.3)
    vanes = _harmonics(5 * turns, character.weights[6:20], 0.8)
    if fault == "worn_vane":  # half orders grow
        vanes += rng.uniform(0.25, 0.4) * _harmonics(2.5 * turns, character.weights[:8], 0.5)
    sound = _unit(hum) + _unit(vanes) + 0.7 * band_noise(rng, n, RATE, (300, 5000))[0]
    if fault == "cavitation":  # bubbles: crackling between 2 and 6 kHz
        strikes = np.flatnonzero(rng.random(n) < 60 / RATE)
        crackle = np.abs(_ringing(strikes, rng.exponential(1, len(strikes)), n, 4000, 0.004))
        sound += rng.uniform(0.2, 0.35) * _unit(crackle * band_noise(rng, n, RATE, (2000, 6000))[0])
    if fault == "leak":
        sound += rng.uniform(0.2, 0.35) * band_noise(rng, n, RATE, (4500, 7500))[0]
    return sound


def slider(character: Character, rng: np.random.Generator, n: int, fault: str) -> np.ndarray:
    """A carriage that goes to and fro, its motor's whine, and its friction; `scratch`, `dry`, `hesitation`."""
    stroke = _turns(rng, n, character.shaft_hz / 30, 0.01)
    if fault == "hesitation":  # the carriage sticks for a moment on its way
        phase = stroke % 1
        stroke = stroke + 0.05 * np.sin(2 * np.pi * 4 * phase) * (phase > 0.2) * (phase < 0.7)
    speed = np.abs(np.sin(2 * np.pi * stroke))
    whine = np.sin(2 * np.pi * np.cumsum(400 + character.resonance_hz + 900 * speed) / RATE)
    whine += 0.5 * np.sin(4 * np.pi * np.cumsum(400 + character.resonance_hz + 900 * speed) / RATE)
    friction = band_noise(rng, n, RATE, (500, 4000))[0]
    sound = speed * (whine + 0.7 * friction)
    ends = _crossings(2 * stroke)
    sound = _unit(sound) + 0.6 * _unit(
        _ringing(ends, np.ones(len(ends)), n, 250 + character.resonance_hz / 2, 0.02)
    )
    if fault == "scratch":  # at one place of the rail
        strikes = _crossings(2 * stroke + 0.37)
        strength = rng.uniform(0.5, 1.2, len(strikes))
        sound += rng.uniform(0.12, 0.2) * _unit(_ringing(strikes, strength, n, 5200, 0.01))
    if fault == "dry":
        sound += rng.uniform(0.3, 0.45) * speed * band_noise(rng, n, RATE, (2500, 6500))[0]
    return sound


def valve(character: Character, rng: np.random.Generator, n: int, fault: str) -> np.ndarray:
    """A solenoid that opens and closes, with air after it; `missed`, `bounce`, `leak`."""
    pace = 1 / (character.shaft_hz / 8)
    gaps = pace * (1 + rng.normal(0, 0.04, int(n / RATE / pace) + 3))
    strikes = (np.cumsum(gaps) - gaps[0] * rng.random()) * RATE
    if fault == "missed":
        strikes = strikes[rng.random(len(strikes)) > 0.2]
    strikes = strikes.astype(np.int64)
    strength = rng.uniform(0.8, 1.2, len(strikes))
    click = _ringing(strikes, strength, n, 900 + character.resonance_hz, 0.006)
    click += 0.6 * _ringing(strikes, strength, n, 2600 + character.resonance_hz, 0.003)
    puff = np.zeros(n)
    np.add.at(puff, strikes[(strikes >= 0) & (strikes < n)], 1.0)
    envelope = signal.oaconvolve(puff, np.exp(-np.arange(RATE // 4) / RATE / 0.05))[:n]
    sound = _unit(click) + 0.5 * envelope * band_noise(rng, n, RATE, (1500, 6000))[0]
    if fault == "bounce":  # the armature falls back once more
        again = strikes + (rng.normal(0.045, 0.004, len(strikes)) * RATE).astype(np.int64)
        sound += rng.uniform(0.35, 0.5) * _unit(_ringing(again, strength, n, 1200 + character.resonance_hz, 0.006))
    if fault == "leak":
        sound += rng.uniform(0.12, 0.2) * band_noise(rng, n, RATE, (3000, 7000))[0]
    return sound


def _crossings(turns: np.ndarray) -> np.ndarray:
    """Return the samples at which another turn begins."""
    return np.flatnonzero(np.diff(np.floor(turns))) + 1


def _bursts(rng: np.random.Generator, n: int, per_second: float, seconds: float) -> np.ndarray:
    """Return a curve that is 1 in bursts and 0 between them, with soft edges, shape (n,)."""
    starts = np.flatnonzero(rng.random(n) < per_second / RATE)
    on = np.zeros(n)
    for start in starts:
        on[start : start + int(seconds * RATE)] = 1
    edge = signal.windows.hann(RATE // 50)
    return signal.oaconvolve(on, edge / edge.sum(), mode="same")


MACHINES: dict[str, tuple[Machine, tuple[str, ...]]] = {
    "fan": (fan, ("imbalance", "bearing", "loose_blade")),
    "pump": (pump, ("cavitation", "leak", "worn_vane")),
    "slider": (slider, ("scratch", "dry", "hesitation")),
    "valve": (valve, ("missed", "bounce", "leak")),
}


def factory(character: Character, rng: np.random.Generator, n: int) -> np.ndarray:
    """Return the noise of a factory with unit variance, shape (n,): a murmur, motors nearby, and clanks."""
    murmur = sum(
        rng.uniform(0.85, 1.15) * weight * band_noise(rng, n, RATE, band)[0]
        for band, weight in (((60, 400), 1.0), ((400, 1600), 0.6), ((1600, 7000), 0.35))
    )
    motors = sum(
        rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * _turns(rng, n, hertz)) for hertz in character.motors_hz
    )
    clanks = np.flatnonzero(rng.random(n) < 0.3 / RATE)
    strength = rng.exponential(1.5, len(clanks))
    return _unit(murmur + motors + _ringing(clanks, strength, n, rng.uniform(700, 3500), 0.05))


def draw_character(machine: str, number: int, seed: int) -> Character:
    """Draw what makes the machine of an id."""
    rng = np.random.default_rng([seed, 1, list(MACHINES).index(machine), number])
    return Character(rng.uniform(22, 32), rng.uniform(0, 300), rng.uniform(0.3, 1.0, 24), rng.uniform(80, 700, 3))


@lru_cache(maxsize=1)  # clips of one machine are made in a row
def usual_loudness(machine: str, number: int, n: int, seed: int) -> float:
    """Return the root mean square of one normal clip of `n` samples."""
    make, _ = MACHINES[machine]
    sound = make(draw_character(machine, number, seed), np.random.default_rng(seed), n, "")
    return float(np.sqrt(np.mean(sound**2)))


def clip(
    machine: str, number: int, fault: str, index: int, seconds: float, snr_db: float, seed: int
) -> np.ndarray:
    """Return a clip, float32, shape (n,), full scale at 1.

    Parameters
    ----------
    machine : str
        Of `MACHINES`.
    number : int
        Of the machine: another number is another one of its kind.
    fault : str
        Of the machine's faults; empty: none.
    index : int
        Of the clip: another one is another recording.
    seconds : float
    snr_db : float
        Usual ratio of the machine's loudness to the factory's.
    seed : int
    """
    machine_index = list(MACHINES).index(machine)
    rng = np.random.default_rng(
        [seed, 2, machine_index, number, index, len(fault) and 1 + MACHINES[machine][1].index(fault)]
    )
    n = round(seconds * RATE)
    make, _ = MACHINES[machine]
    # A normal clip's loudness is the measure: a fault adds to the sound, not to a fixed sum.
    character = draw_character(machine, number, seed)
    sound = make(character, rng, n, fault)
    usual = usual_loudness(machine, number, n, seed)
    levels = 10 ** (rng.normal(0, LOUDNESS_DB, 2) / 20)
    noise = factory(character, rng, n) * 10 ** (-snr_db / 20)
    return (FULL_SCALE * (levels[0] * sound / usual + levels[1] * noise)).astype(np.float32)


def make_set(
    root: Path,
    snr_db: float = 6,
    ids: int = 2,
    normal: int = 100,
    abnormal: int = 30,
    seconds: float = 10,
    seed: int = 0,
    machines: tuple[str, ...] = tuple(MACHINES),
) -> None:
    """Write the set: `normal` and `abnormal` clips of each id, faults taking turns."""
    import soundfile

    with tqdm(total=len(machines) * ids * (normal + abnormal), unit="clip", mininterval=2) as bar:
        for machine in machines:
            faults = MACHINES[machine][1]
            for number in range(ids):
                folder = root / f"{snr_db:g}_dB" / f"made_{machine}" / f"id_{2 * number:02d}"
                for label, count in (("normal", normal), ("abnormal", abnormal)):
                    (folder / label).mkdir(parents=True, exist_ok=True)
                    for i in range(count):
                        fault = faults[i % len(faults)] if label == "abnormal" else ""
                        name = f"{i:08d}{'_' * bool(fault)}{fault}.wav"
                        sound = clip(machine, number, fault, i, seconds, snr_db, seed)
                        soundfile.write(folder / label / name, sound, RATE, subtype="PCM_16")
                        bar.update()


def main(
    root: Annotated[Path, typer.Argument(help="folder to write to")],
    snr: Annotated[list[float], typer.Option(help="dB; may be given more than once")] = [6.0],  # noqa: B006
    ids: Annotated[int, typer.Option(help="machines of each kind")] = 2,
    normal: Annotated[int, typer.Option(help="clips of an id")] = 100,
    abnormal: Annotated[int, typer.Option(help="clips of an id")] = 30,
    seconds: Annotated[float, typer.Option(help="of a clip")] = 10,
    seed: int = 0,
) -> None:
    """Write the set."""
    for ratio in snr:
        make_set(root, ratio, ids, normal, abnormal, seconds, seed)
