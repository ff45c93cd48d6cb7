"""A candidate is held against the live model on days that neither knows, and nothing that is live is touched."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dasanom_assets import chain
from dasanom_assets.detection import proposal
from dasanom_assets.detection.proposal import FOLDER, NoProposalError, Proposal, Side, propose, refusals
from dasanom_assets.detection.reference.model import RefusedModelError, promote, save_reference
from dasanom_assets.models import checkpoints
from dasanom_assets.tables.store import Store
from dasanom_assets.tables.verdicts import BOX, record_verdict
from dasanom_tests.detection.conftest import EVENTFUL, QUIET, SETTINGS, TRAINED, Ground, write_day

LATER = "2026-01-09"
HELD_OUT = [QUIET, EVENTFUL, LATER]


def say(store: Store, event: Mapping[str, Any], verdict: str, number: int) -> None:
    entry = {name: event[name] for name in (*BOX, "event_id")}
    record_verdict(
        store, EVENTFUL, entry | {"entry_id": f"verdict-{number}", "who": "an analyst", "verdict": verdict}
    )


@dataclass(frozen=True)
class Compared:
    """Two candidates beside the live model: one that judges as it does, and one that hears nothing."""

    store: Store
    twin: Proposal
    deaf: Proposal


def tables(store: Store) -> dict[str, str]:
    """Every file but what is kept of a candidate, and its content."""
    files = [file["path"] for file in store.listing("", recursive=True)]
    return {path: store.digest(path) for path in files if "/reference_model/" not in path}


@pytest.fixture(scope="module")
def compared(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    root = tmp_path_factory.mktemp("compared") / "root"
    shutil.copytree(ground.root, root)
    store, live = Store(str(root)), ground.reference
    write_day(store, LATER)
    chain.score(store, LATER, SETTINGS)
    low, high, again = store.read_day("anomaly_events", EVENTFUL).sort_by("start").to_pylist()
    say(store, low, "true", 1)
    say(store, high, "true", 2)
    say(store, high, "false", 3)  # another look
    say(store, again | {"fibre": "south", "event_id": "nobody's"}, "true", 4)
    say(store, again, "unknown", 5)
    twin = save_reference(store, replace(live, note=live.note | {"name": "twin"}))
    deaf = save_reference(store, replace(live, least_score=1e9))
    before = tables(store)
    days = [*TRAINED, *HELD_OUT]
    found = [propose(store, version, days, SETTINGS, "cpu") for version in (twin, deaf)]
    assert tables(store) == before
    return Compared(store, *found)


def test_both_score_the_days_that_neither_has_learned_from(compared: Compared) -> None:
    assert compared.twin.days == HELD_OUT
    assert compared.twin.live.learned == compared.twin.candidate.learned == list(TRAINED)
    assert compared.twin.left_out == {}


def test_an_equal_candidate_has_equal_figures_and_is_not_refused(compared: Compared) -> None:
    live, candidate = compared.twin.live, compared.twin.candidate
    assert replace(candidate, version=live.version) == live
    assert (live.alarms, live.shared) == (3, 3)
    assert live.km_days == pytest.approx(3 * 24 * 0.005 * 597 / 86_400)
    assert compared.twin.reasons == []


def test_the_last_words_of_analysts_are_what_a_model_is_held_against(compared: Compared) -> None:
    live = compared.twin.live
    assert (compared.twin.threats, compared.twin.nuisances) == (2, 1)
    (threat,), (nuisance,) = live.threats, live.nuisances
    assert threat.startswith(f"{EVENTFUL} 12:0")
    assert threat.endswith("on north 105–107")
    assert nuisance.endswith("on north 114–116")


def test_a_candidate_that_hears_less_is_refused_by_the_rule_and_by_who_promotes(compared: Compared) -> None:
    deaf, store = compared.deaf, compared.store
    assert (deaf.candidate.alarms, deaf.candidate.threats, deaf.candidate.nuisances) == (0, [], [])
    assert [reason.partition("2:")[0] for reason in deaf.reasons] == [
        "confirmed threats that it misses and the live model finds: 2026-01-08 1",
        "of 3 alarms of the live model, which keeps its promise, it raises 0",
    ]
    version, live = deaf.candidate.version, checkpoints.live_set(store)
    with pytest.raises(
        RefusedModelError, match=rf"{version} was refused: confirmed threats .* dasanom promote {version} --an"
    ):
        promote(store, version)
    assert checkpoints.live_set(store) == live
    try:
        assert promote(store, version, anyway=True)["reference_model"] == version
    finally:
        assert promote(store, live["reference_model"]) == live


def test_what_was_found_is_kept_and_told_in_a_table(compared: Compared) -> None:
    assert proposal.read_proposal(compared.store, compared.deaf.candidate.version) == compared.deaf
    assert proposal.read_proposal(compared.store, "0123") is None
    rows = {what: (live, candidate) for what, live, candidate in compared.deaf.rows()}
    assert rows["alarms"] == ("3 in 0.00249 km·days", "0 in 0.00249 km·days")
    assert rows["alarms that the other raises, too"] == ("0 of 3", "0 of 0")
    assert rows["confirmed threats found"] == ("1 of 2", "0 of 2")
    assert rows["learned from"][0] == "2026-01-05 to 2026-01-06 (days: 2)"
    assert compared.deaf.how.startswith(f"dasanom promote {compared.deaf.candidate.version} --anyway")


def test_days_that_cannot_be_scored_are_named_and_a_killed_comparison_leaves_nothing(
    compared: Compared, tmp_path: Path
) -> None:
    shutil.copytree(compared.store.full(""), tmp_path / "root")
    store, version = Store(str(tmp_path / "root")), compared.twin.candidate.version
    store.write_bytes(f"{FOLDER}/killed/rows.parquet", b"")
    store.drop_day("common_levels", LATER)
    found = propose(store, version, [LATER], SETTINGS, "cpu")
    assert found.days == []
    assert "common_levels of 2026-01-09 is not there" in found.left_out[LATER]
    assert found.reasons == ["held-out days: 0, and the rule needs 3"]
    assert not store.exists(FOLDER)


def test_a_day_that_the_live_model_has_not_scored_is_scored_by_it_aside(
    compared: Compared, tmp_path: Path
) -> None:
    shutil.copytree(compared.store.full(""), tmp_path / "root")
    store = Store(str(tmp_path / "root"))
    store.drop_day("anomaly_events", EVENTFUL)
    found = propose(store, compared.twin.candidate.version, [EVENTFUL], SETTINGS, "cpu")
    assert found.live.alarms == found.live.shared == 3
    assert not store.has_day("anomaly_events", EVENTFUL)


def test_without_another_live_model_nothing_is_proposed(ground: Ground, tmp_path: Path) -> None:
    with pytest.raises(NoProposalError, match="is live already"):
        propose(ground.store, ground.reference.version, [QUIET], SETTINGS, "cpu")
    with pytest.raises(NoProposalError, match="there is no live model"):
        propose(Store(str(tmp_path)), "0123", [QUIET], SETTINGS, "cpu")


def test_a_network_that_collapsed_goes_live_by_an_explicit_word_alone(ground: Ground, later: Store) -> None:
    tensors, description = checkpoints.load(later, "vae", ground.reference.vae_version)
    vae = checkpoints.save(later, "vae", tensors, description | {"collapsed": True})
    version = save_reference(later, replace(ground.reference, vae_version=vae))
    with pytest.raises(RefusedModelError, match="has collapsed"):
        promote(later, version)
    assert checkpoints.live(later, "vae") == ground.reference.vae_version
    assert promote(later, version, anyway=True)["vae"] == vae


GOOD = Side("a", ["2026-01-05"], 4, 3, 10.0, 1.0, True, "", ["a dig"], ["a van"])


@pytest.mark.parametrize(
    ("live", "candidate", "days", "reason"),
    [
        ({}, {}, 3, ""),
        ({}, {"threats": ["a dig", "another"], "nuisances": [], "alarms": 2, "shared": 2}, 3, ""),
        ({}, {}, 2, "held-out days: 2, and"),
        ({}, {"threats": ["another"]}, 3, "confirmed threats that it misses and the live model finds: a dig"),
        ({}, {"nuisances": ["a van", "a tram"]}, 3, "confirmed nuisances that it raises: 2, the live model: 1"),
        ({}, {"kept": False, "promise": "too many"}, 3, "it does not keep its promise (too many)"),
        ({}, {"promised": 3.0}, 3, "it promises 3 alarms a km and day, the live model 1"),
        ({"promised": 4.0}, {"promised": 3.0}, 3, ""),
        ({"shared": 1}, {}, 3, "of 4 alarms of the live model, which keeps its promise, it raises 1"),
        ({"shared": 1, "kept": False}, {}, 3, ""),
        ({"shared": 1, "kept": None}, {"kept": None}, 3, ""),
        ({"shared": 1, "nuisances": ["a van", "a tram"]}, {}, 3, ""),
    ],
)
def test_the_rule_refuses_what_is_worse(live: dict, candidate: dict, days: int, reason: str) -> None:
    reasons = refusals(replace(GOOD, **live), replace(GOOD, **candidate), days, 2.0)
    assert [text.startswith(reason) for text in reasons] == ([True] if reason else [])
