"""What is chosen is loud or usual, whole and apart."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.spectrograms.stretch_choice import choose
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_tests.spectrograms.test_engine import FIRST


def white(channel: int, seconds: np.ndarray, usable: np.ndarray | None = None) -> WhiteChannel:
    """A channel on which nothing happens."""
    rows = np.random.default_rng(channel).normal(size=(len(seconds), 8, 6)).astype(np.float32)
    usable = np.ones(len(seconds), bool) if usable is None else usable
    return WhiteChannel("north", channel, seconds * SECOND_NS, rows, usable, {"silent": ~usable})


def made_up_day() -> list[WhiteChannel]:
    """Three channels; on 101 an event in one band, and a calm.

    On 100 all bands are a little loud for a long time; on 102 it is calmer still.
    """
    day = [white(channel, FIRST + np.arange(600)) for channel in (100, 101, 102)]
    day[0].rows[300:400] += 1
    day[1].rows[200:206, :, 2] += 8
    day[1].rows[400:425] *= 0.3
    day[2].rows[100:125] *= 0.1
    return day


def test_the_event_is_the_loudest_stretch_in_its_middle_and_the_quiet_one_is_of_its_channel() -> None:
    choice = choose(made_up_day(), 20)
    assert (choice.fibre, choice.channel, choice.seconds) == ("north", 101, 20)
    assert abs(choice.event - FIRST + 10 - 203) <= 2
    assert 400 <= choice.quiet - FIRST <= 405


def test_a_stretch_that_is_too_quiet_is_not_usual() -> None:
    day = made_up_day()[:2]
    day[1].rows[300:325] = -4.0
    assert 400 <= choose(day, 20).quiet - FIRST <= 405


def test_missing_rows_and_gaps_are_not_chosen() -> None:
    seconds = np.delete(FIRST + np.arange(600), 410)
    usable = np.ones(len(seconds), bool)
    usable[203] = False
    event, calm = made_up_day()[1], white(101, seconds, usable)
    calm.rows[:] = np.delete(event.rows, 410, axis=0)
    choice = choose([calm], 20)
    for start in (choice.event, choice.quiet):
        assert not {203, 410} & set(range(start - FIRST, start - FIRST + 20))


@given(
    st.sets(st.integers(0, 60), max_size=60),
    st.sets(st.integers(0, 60), max_size=5),
    st.integers(1, 30),
)
def test_both_stretches_are_whole_and_apart_and_as_long_as_there_is_room(there: set, bad: set, most: int) -> None:
    seconds = np.array(sorted(there), np.int64)
    good = there - bad
    choice = choose([white(1, seconds, ~np.isin(seconds, list(bad)))], most)

    def pairs(length: int) -> list[tuple[int, int]]:
        whole = [s for s in sorted(good) if all(s + k in good for k in range(length))]
        return [(a, b) for a in whole for b in whole if abs(a - b) >= length]

    lengths = [length for length in range(1, most + 1) if pairs(length)]
    if not lengths:
        assert choice is None
    else:
        assert choice.seconds == lengths[-1]
        assert (choice.event, choice.quiet) in pairs(choice.seconds)


def test_a_longer_stretch_wins_over_a_louder_one() -> None:
    loud, long = white(1, FIRST + np.arange(20)), white(2, FIRST + np.arange(100))
    loud.rows[3:6] += 10
    assert choose([loud, long], 20).channel == 2
    assert choose([loud, long], 10).channel == 1


def test_what_is_given_is_not_chosen() -> None:
    day = made_up_day()
    fixed = choose(day, 20, FIRST + 500, FIRST + 30)
    assert (fixed.event, fixed.quiet) == (FIRST + 500, FIRST + 30)
    assert choose(day, 20, event=FIRST + 500).event == FIRST + 500
    with_quiet = choose(day, 20, quiet=FIRST + 200)  # where the event would be
    assert with_quiet.quiet == FIRST + 200
    assert abs(with_quiet.event - with_quiet.quiet) >= 20
    assert choose(day, 20, FIRST + 500, FIRST + 510) is None  # they overlap
    assert choose(day, 20, event=FIRST + 590) is None  # the signal ends before
