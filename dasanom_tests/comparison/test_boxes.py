"""A window is ours where an alarm holds its middle, and nowhere else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.comparison.boxes import by_alarms, in_alarms, rows_of_alarms
from dasanom_tests.comparison.made_days import rows

PLACES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5), st.integers(0, 40)), max_size=30)
BOXES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.integers(0, 40), st.integers(1, 9), st.integers(0, 5), st.integers(0, 3)
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(PLACES, BOXES)
def test_those_are_ours_whose_middle_an_alarm_holds(places: list, boxes: list) -> None:
    fibre, channel, start = (list(column) for column in zip(*places, strict=True)) if places else ([], [], [])
    windows = {"fibre": fibre, "channel": channel, "start": start, "end": [s + 8 for s in start]}
    scores = rows("anomaly_scores", windows | {"is_anomaly": [True] * len(start)})
    names = ("fibre", "start", "end", "first_channel", "last_channel")
    columns = [[b[0] for b in boxes], [b[1] for b in boxes], [b[1] + b[2] for b in boxes]]
    columns += [[b[3] for b in boxes], [b[3] + b[4] for b in boxes]]
    events = rows("anomaly_events", dict(zip(names, columns, strict=True)) | {"peak_start": columns[1]})
    expected = [
        any(f == b[0] and b[1] <= s + 4 < b[1] + b[2] and b[3] <= c <= b[3] + b[4] for b in boxes)
        for f, c, s in places
    ]
    assert in_alarms(scores, events).tolist() == expected
    assert by_alarms(scores, events)["is_anomaly"].to_pylist() == expected
    cells = rows_of_alarms(events)
    assert cells.num_rows == sum(b[4] + 1 for b in boxes)
    assert np.array_equal(cells["channel"].to_numpy(), [c for b in boxes for c in range(b[3], b[3] + b[4] + 1)])
