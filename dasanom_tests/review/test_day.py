"""A day's rows: one a cause, the pressing first; and pictures that are where they say."""

import io
import json
from collections import OrderedDict

import numpy as np
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from dasanom_assets.review.app import Review, create_app
from dasanom_assets.review.day import day_view
from dasanom_assets.review.tiles import Tiles
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.review.conftest import judge, rows_of
from dasanom_tests.review.made import DAY, MIDNIGHT, SECOND, event, ours, write

US = 1_000_000


def test_pieces_of_one_lorry_are_one_row_and_single_cells_are_grouped(reader: TestClient) -> None:
    rows = {row["id"]: row for row in rows_of(reader)}
    assert len(rows) == 4
    lorry = next(row for row in rows.values() if row["id"].startswith("lorry"))
    assert lorry["kind"] == "vehicle"
    assert sorted(lorry["members"]) == ["lorry-0", "lorry-1", "lorry-2"]
    cells = next(row for row in rows.values() if row["cells"])
    assert cells["alarms"] == 4
    assert cells["class"] == "walking"
    assert cells["agreement"] == "only_contractor"


def test_a_dig_without_a_ticket_comes_first_and_no_row_contradicts_itself(reader: TestClient) -> None:
    rows = rows_of(reader)
    assert rows[0]["id"] == "dig"
    assert rows[0]["agreement"] == "both"
    assert "no planned work" in rows[0]["why"]
    for row in rows:
        assert (row["probability"] is None) == (row["agreement"] == "only_us")
        assert ("contractor agrees" in row["why"]) == (row["agreement"] == "both")


def test_the_first_screen_names_at_most_five_places_with_metres_time_kind_and_reason(reader: TestClient) -> None:
    head = reader.get(f"/api/days/{DAY}").json()
    assert 0 < len(head["places"]) <= 5
    for row in head["places"]:
        assert row["first_m"] == row["first"] * 5
        assert row["kind"]
        assert row["why"]
        assert not row["cells"]
    page = reader.get(f"/day/{DAY}").text
    assert "KP 0.100 to 0.120" in page
    assert "00:09:58" in page


@pytest.mark.parametrize("layer", ["power", "contractor", "ours"])
@pytest.mark.parametrize("span", [(1200, 1300), (0, 3600), (1234, 1235)])
def test_an_event_of_a_second_on_one_channel_is_drawn_at_its_second_and_channel(
    reader: TestClient, layer: str, span: tuple[int, int]
) -> None:
    start = MIDNIGHT // 1000
    query = {"fibre": "north", "layer": layer, "from": start + span[0] * US, "to": start + span[1] * US}
    answer = reader.get(
        f"/api/days/{DAY}/waterfall", params=query | {"first": 0, "last": 63, "width": 700, "height": 64}
    )
    head = json.loads(answer.headers["x-picture"])
    codes = np.frombuffer(answer.content, np.uint8).reshape(head["rows"], head["columns"])
    row, column = np.unravel_index(codes.argmax(), codes.shape)
    assert codes.max() == 200
    assert (codes == 200).sum() == 1
    assert head["first_channel"] + row * head["channel_step"] == 30
    begin = head["start"] + column * head["step"]
    assert begin <= start + 1234 * US < begin + head["step"]
    assert head["columns"] <= 700
    assert head["rows"] <= 64


def test_any_part_of_the_pyramid_is_the_maximum_of_its_cells(tmp_path) -> None:
    store, rng = Store(str(tmp_path)), np.random.default_rng(3)
    spots = [
        (slice(r, r + 1), slice(s, s + 1), int(c))
        for r, s, c in zip(
            rng.integers(0, 300, 200), rng.integers(0, 86_400, 200), rng.integers(30, 255, 200), strict=True
        )
    ]
    write(store, cells={"power": spots}, channels=300, seconds=86_400)
    whole = np.zeros((300, 86_400), np.uint8)
    whole[:] = 17
    for rows, columns, code in spots:
        whole[rows, columns] = code
    tiles = Tiles(store, DAY)
    for first, last, a, b, size in [
        (0, 299, 0, 86_400, (100, 800)),
        (250, 270, 500, 4000, (50, 1000)),
        (7, 8, 9, 10, (9, 9)),
    ]:
        ns = MIDNIGHT + a * SECOND, MIDNIGHT + b * SECOND
        made = tiles.picture("north", "power", ns, (first, last), size)
        step, rows = made.step_ns // SECOND, made.channel_step
        offset = (made.start_ns - MIDNIGHT) // SECOND
        for y, x in np.ndindex(made.codes.shape):
            cells = whole[
                first + y * rows : min(last + 1, first + (y + 1) * rows),
                offset + x * step : offset + (x + 1) * step,
            ]
            assert made.codes[y, x] == (cells.max() if cells.size else 0)


def test_rows_are_filtered_sorted_and_paged(reader: TestClient) -> None:
    assert [row["id"] for row in rows_of(reader, agreement="both")] == ["dig"]
    assert next(row["id"] for row in rows_of(reader, kind="vehicle")).startswith("lorry")
    starts = [row["start"] for row in rows_of(reader, sort="-start")]
    assert starts == sorted(starts, reverse=True)
    rates = [row["rate"] for row in rows_of(reader, sort="rate")]
    assert rates[-1] is None
    assert rates[:-1] == sorted(rates[:-1])
    assert len(rows_of(reader, limit="2")) == 2
    assert len(rows_of(reader, limit="2", offset="3")) == 1


def test_boxes_are_those_in_sight(reader: TestClient) -> None:
    start = MIDNIGHT // 1000
    query = {"fibre": "north", "from": start + 590 * US, "to": start + 660 * US, "first": 0, "last": 63}
    answer = reader.get(f"/api/days/{DAY}/boxes", params=query).json()
    assert {box[6] for box in answer["boxes"]} == {"dig", "their-dig", "cell-6"} - {"cell-6"}
    assert answer["total"] == len(answer["boxes"]) == 2


def test_a_place_that_alarms_day_after_day_is_marked(store: Store, reader: TestClient) -> None:
    for day in ("2026-02-26", "2026-02-27", "2026-02-28"):
        write(store, day, events=[ours(50, 30, 10, 12, event_id=f"{day}-pump")])
    write(store, events=[ours(2000, 30, 10, 12, event_id="pump"), ours(700, 30, 30, 33, event_id="new")])
    rows = {row["id"]: row for row in rows_of(reader)}
    assert rows["pump"]["always"] == "3 of 3 days before"
    assert not rows["new"]["always"]
    assert [row["id"] for row in rows_of(reader, hide="always")] == ["new"]


def test_a_dig_at_a_place_that_alarms_day_after_day_is_looked_at_first(store: Store, reader: TestClient) -> None:
    for day in ("2026-02-26", "2026-02-27", "2026-02-28"):
        write(store, day, events=[ours(50, 30, 10, 12, event_id=f"{day}-pump")])
    pump, dig = (ours(at, 30, 10, 12, event_id=name) for at, name in ((2000, "pump"), (600, "dig")))
    theirs = event(600, 30, 10, 12, event_id="their-dig") | {"contractor_class": "digging", "probability": 0.99}
    write(
        store,
        events=[pump, dig | {"contractor_class": "digging", "contractor_probability": 0.99}],
        theirs=[theirs],
    )
    first = rows_of(reader)[0]
    assert (first["id"], first["kind"], bool(first["always"])) == ("dig", "digging", True)
    places = reader.get(f"/api/days/{DAY}").json()["places"]
    assert [place["id"] for place in places] == ["dig"]


def test_exports_hold_every_event_with_metres_and_file(reader: TestClient, store: Store) -> None:
    table = pq.read_table(io.BytesIO(reader.get(f"/api/days/{DAY}/events.parquet").content))
    assert table.num_rows == 10
    assert str(table.schema.field("start").type) == "timestamp[us, tz=UTC]"
    dig = next(row for row in table.to_pylist() if row["event_id"] == "dig")
    assert (dig["first_m"], dig["last_m"], dig["file"]) == (100, 120, f"landing/{DAY}/made.bin")
    lines = reader.get(f"/api/days/{DAY}/events.csv").text.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("event_id,side,fibre,start")
    assert "route.csv" in reader.get(f"/api/days/{DAY}/events.geojson").json()["error"]
    store.write_bytes("route.csv", b"channel,longitude,latitude\n0,30.0,40.0\n63,30.63,40.0\n")
    features = reader.get(f"/api/days/{DAY}/events.geojson").json()["features"]
    line = next(f for f in features if f["id"] == "dig")["geometry"]
    assert line == {"type": "LineString", "coordinates": [[30.2, 40.0], [30.24, 40.0]]}


def test_a_formula_in_a_name_is_no_formula_in_the_csv(tmp_path, store: Store, reader: TestClient) -> None:
    name = "=HYPERLINK(1)"
    write(store, events=[ours(600, 40, 20, 24, name, event_id="dig")], fibre=name)
    assert "'=HYPERLINK(1)" in reader.get(f"/api/days/{DAY}/events.csv").text


def test_a_day_without_either_side_is_told(store: Store, reader: TestClient) -> None:
    write(store)
    assert "Neither side raised an alarm" in reader.get(f"/day/{DAY}").text
    assert rows_of(reader) == []


def test_a_month_tells_alarms_agreement_and_what_was_not_heard_of_each_day(reader: TestClient) -> None:
    month = reader.get("/api/days").json()
    assert month["month"] == DAY[:7]
    (day,) = month["days"]
    assert day["alarms"] == 5
    assert day["not_heard_km_hours"] == 0
    assert day["expected"] == 2.0


def test_contractors_alarms_that_barely_meet_ours_are_no_agreement(store: Store, reader: TestClient) -> None:
    touching = event(629, 300, 20, 24, event_id="theirs") | {"contractor_class": "walking", "probability": 0.9}
    write(store, events=[ours(600, 30, 20, 24, event_id="mine")], theirs=[touching])
    assert {row["agreement"] for row in rows_of(reader)} == {"only_us", "only_contractor"}


def test_a_day_whose_model_cannot_be_read_is_still_shown(store: Store, reader: TestClient) -> None:
    write(store, events=[ours(600, 40, 20, 24, event_id="far", beyond_reference=True)])
    store.write_json("models/reference_model/made/model.json", {"description": {}})
    (row,) = rows_of(reader)
    assert row["often"] == "rarer than in all of its reference"
    assert reader.get(f"/api/days/{DAY}/alarms/far").json()["model"]["missing"]


def test_places_to_judge_are_drawn_from_each_kind_of_agreement_and_stay_the_same(
    store: Store, reader: TestClient
) -> None:
    said = reader.get(f"/api/days/{DAY}/triage").json()
    queue = [place["event"] for place in said["queue"]]
    assert {name: (cell["places"], cell["drawn"]) for name, cell in said["cells"].items()} == {
        "both": (1, 1),
        "only_us": (4, 4),
        "only_contractor": (4, 4),
    }
    assert len(set(queue)) == len(queue) == 9
    assert said["precision"]["ours"]["low"] is None
    again = TestClient(create_app(store, Settings(data=store.full(""))), base_url="http://127.0.0.1")
    assert [place["event"] for place in again.get(f"/api/days/{DAY}/triage").json()["queue"]] == queue
    page = reader.get(f"/day/{DAY}").text
    assert "Judge these 9 places" in page
    assert "nothing is known yet" in page


def test_what_was_judged_tells_how_many_alarms_of_each_side_are_true(writer: TestClient) -> None:
    judge(writer, "dig", "true", "entry-dig-1")
    judge(writer, "alone", "false", "entry-alone")
    for i in range(4):
        judge(writer, f"cell-{i}", "unknown" if i == 3 else "false", f"entry-cell-{i}")
    said = writer.get(f"/api/days/{DAY}/triage").json()
    ours, theirs = (said["precision"][side] for side in ("ours", "contractor"))
    assert (theirs["right"], theirs["judged"], theirs["places"]) == (1, 4, 5)
    assert theirs["value"] == pytest.approx(1 / 5)
    assert theirs["low"] == pytest.approx(1 / 5)
    assert theirs["high"] <= 2 / 5
    assert ours["value"] == pytest.approx(1 / 5)  # one of one, and none of four
    assert said["cells"]["only_contractor"]["unknown"] == 1
    page = writer.get(f"/day/{DAY}").text
    assert "were something (1 of 4 judged, for 5 places)" in " ".join(page.split())


def test_an_alarm_that_was_drawn_leads_to_the_next_one_to_judge(writer: TestClient) -> None:
    queue = [place["event"] for place in writer.get(f"/api/days/{DAY}/triage").json()["queue"]]
    page = writer.get(f"/day/{DAY}/alarm/{queue[0]}").text
    assert f"place 1 of {len(queue)} to judge" in page
    assert f'/alarm/{queue[1]}">Next to judge' in page


def test_a_day_tells_how_far_the_sides_agree_with_chance_and_intervals(store: Store, reader: TestClient) -> None:
    said = reader.get(f"/api/days/{DAY}").json()["agreement"]
    row = store.read_day("agreement", DAY).drop_columns(["start", "end"]).to_pylist()[0]
    assert said == row
    assert (said["ours"], said["ours_matched"], said["theirs_matched"]) == (5, 1, 1)
    assert said["both_s"] == 40 * 5
    assert f"{said['kappa']:.3f}" in reader.get(f"/day/{DAY}").text


@pytest.mark.parametrize(("clusters", "drawn"), [(3, True), (1, False)])
def test_the_condensed_tree_is_shown_where_it_has_branches(store: Store, clusters: int, drawn: bool) -> None:
    client = TestClient(create_app(store, Settings(data=store.full(""))), base_url="http://127.0.0.1")
    assert client.get(f"/api/days/{DAY}/map").json()["tree"] is None
    assert client.get(f"/api/days/{DAY}/condensed_tree.png").status_code == 404
    note = {"note": {"clusters": {"n_clusters": clusters, "noise_share": 0.1}}}
    store.write_json("models/reference_model/made/model.json", {"description": note})
    store.write_bytes("reports/reference_model/version=made/condensed_tree.png", b"a picture")
    again = TestClient(create_app(store, Settings(data=store.full(""))), base_url="http://127.0.0.1")
    # What was drawn before is kept as long as the events are the same ones.
    store.write_day(
        "anomaly_events", DAY, store.read_day("anomaly_events", DAY).slice(1), {"model_version": "made"}
    )
    told = again.get(f"/api/days/{DAY}/map").json()["tree"]
    assert told == ({"n_clusters": 3, "noise_share": 0.1} if drawn else None)
    assert again.get(f"/api/days/{DAY}/condensed_tree.png").content == b"a picture"


def test_a_day_is_shown_while_its_matches_are_those_of_events_before(reader: TestClient, store: Store) -> None:
    assert "dig" in {place["event"] for place in reader.get(f"/api/days/{DAY}/triage").json()["queue"]}
    others = store.read_day("anomaly_events", DAY).slice(1)
    store.write_day("anomaly_events", DAY, others, {"model_version": "made"})
    assert "dig" not in {place["event"] for place in reader.get(f"/api/days/{DAY}/triage").json()["queue"]}
    assert reader.get(f"/day/{DAY}").status_code == 200


def test_days_with_many_rows_are_not_kept_beside_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    review = Review(store, Settings(data=store.full("")))
    write(store, "2026-03-03", events=[ours(3000, 30, 10, 12)])
    for most, kept in ((100, True), (3, False)):
        monkeypatch.setattr("dasanom_assets.review.day.KEPT_ROWS", most)
        monkeypatch.setattr("dasanom_assets.review.day._KEPT", OrderedDict())
        first = day_view(review, DAY)
        day_view(review, "2026-03-03")
        assert (day_view(review, DAY) is first) == kept
