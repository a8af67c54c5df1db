"""Champion and challenger: what the comparison measures, what the gate refuses, and the way back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from jobs.common.config import Compare
from jobs.models.comparison import apply_rules, calibration_factor, correlate_ranks, measure, measure_detection_loss
from jobs.models.store import find_model, roll_back, save_model
from tests.jobs.job import Job, all_files, invoke
from vae_model.bundle.self_test import Detection, SelfTest

# Models of two epochs on 600 rows agree in little but their calibration.
BUDGET = ("--set", "score.alert_budget=0.05")
RULES = {"min_correlation": -1, "min_overlap": 0.05, "max_flips": 3}


@pytest.fixture(scope="session")
def challengers(orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a model of another seed, and of one that learned from rows which are all wrong."""
    options = vm.ColumnOptions(ignore=("order_id", "day"))
    folder = tmp_path_factory.mktemp("challengers")
    wrong = orders.set_column(3, "price", pa.array(np.asarray(orders["price"]) * 0.01))
    for name, rows, seed in (("twin", orders, 2), ("wrong", wrong, 1), ("third", orders, 3)):
        vm.fit(rows, options, seed=seed, epochs=2, members=1).save(folder / name)
    return {path.name: path for path in folder.iterdir()}


def test_a_twin_passes_and_takes_the_place(any_job: Job, challengers: dict[str, Path]) -> None:
    any_job.settings["compare"] = RULES
    champion = vm.load(any_job.bundle).model_id
    arguments = ("compare", "--challenger", str(challengers["twin"]), "--where", "day = '2024-01-02'")
    outcome = any_job.run(*arguments)
    assert outcome.code == 0, outcome.stderr
    assert (outcome.last["rows"], outcome.last["champion"]) == (200, champion)
    assert vm.load(any_job.bundle).model_id == champion, "comparing changes nothing"
    outcome = any_job.run(*arguments, "--promote")
    assert outcome.code == 0 and outcome.last["promoted"], outcome.stderr
    assert vm.load(any_job.bundle).model_id == outcome.last["challenger"] != champion
    outcome = any_job.run("rollback")
    assert outcome.code == 0, outcome.stderr
    assert vm.load(any_job.bundle).model_id == champion == outcome.last["model_id"]


def test_the_gate_refuses_and_the_champion_stays(job: Job, challengers: dict[str, Path]) -> None:
    before = all_files(job.bundle)
    outcome = job.run(
        "compare", "--challenger", str(challengers["wrong"]), "--promote", "--set", "score.alert_budget=0.05"
    )
    assert outcome.code == 5, outcome.stdout
    assert "calibration" in outcome.error["found"]
    assert all_files(job.bundle) == before
    flips = [event for event in outcome.events if event["event"] == "flip"]
    assert flips and all(flip["alert for"] in ("champion", "challenger") for flip in flips)
    assert any("price is" in flip["because"] for flip in flips) and "order_id = " in flips[0]["row"]
    # The rules are the config's.
    generous = [f"compare.{rule}" for rule in ("max_calibration_factor=1e9", "max_flips=1e9", "min_overlap=0",
                                               "min_correlation=-1")]  # fmt: skip
    sets = [part for rule in generous for part in ("--set", rule)]
    assert job.run("compare", "--challenger", str(challengers["wrong"]), *sets).code == 0


def test_a_model_compared_with_itself_is_nothing_to_do(job: Job) -> None:
    before = all_files(job.bundle)
    for arguments in ([], ["--promote"]):
        outcome = job.run("compare", "--challenger", str(job.bundle), *arguments)
        assert outcome.code == 0, outcome.stderr
        assert "nothing to do" in outcome.last["message"] and "the champion itself" in outcome.last["message"]
        assert outcome.last["promoted"] is False
    assert all_files(job.bundle) == before


def test_known_anomalies_must_stay_found(job: Job, challengers: dict[str, Path]) -> None:
    job.settings["compare"] = RULES
    settings = ("--set", "score.alert_budget=0.3")
    outcome = job.run("compare", "--challenger", str(challengers["twin"]), *settings)
    flips = [event for event in outcome.events if event["event"] == "flip"]
    lost = next(flip["row"] for flip in flips if flip["alert for"] == "champion").replace(" ", "")
    add = ("feedback", "add", "--config", str(job.config_file), "--key", lost, "--verdict", "anomaly")
    assert invoke(*add).code == 0
    outcome = job.run("compare", "--challenger", str(challengers["twin"]), *settings)
    assert outcome.code == 5 and "known anomalies" in outcome.error["found"]
    assert (
        job.run("compare", "--challenger", str(challengers["twin"]), *settings, "--set", "compare.max_missed=1").code
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--challenger", "nowhere"], 3),
        (["--challenger", "{twin}", "--where", "day = '1999-01-01'"], 3),
        (["--challenger", "{twin}", "--where", "dya = 1"], 3),
        (["--challenger", "{bundle}", "--set", "compare.min_overlp=1"], 2),
        ([], 2),
    ],
)
def test_what_cannot_be_compared(arguments: list[str], code: int, job: Job, challengers: dict[str, Path]) -> None:
    paths = {"bundle": job.bundle, "twin": challengers["twin"]}
    outcome = job.run("compare", *(text.format(**paths) for text in arguments))
    assert outcome.code == code, outcome.stderr


def test_going_back_twice_goes_back_two_models(challengers: dict[str, Path], tmp_path: Path) -> None:
    place, bundles = tmp_path / "bundle", [vm.load(challengers[name]) for name in ("twin", "wrong", "third")]
    for bundle in bundles:
        save_model(bundle, place)
        save_model(bundle, place)  # a repeated training is not another model
    first, second, third = (bundle.model_id for bundle in bundles)
    assert roll_back(place) == (third, second)
    assert roll_back(place) == (second, first)
    with pytest.raises(vm.DataError, match="--to"):
        roll_back(place)
    assert roll_back(place, third[:10]) == (first, third)
    assert roll_back(place) == (third, first)
    config = Job(tmp_path).config()
    assert all(find_model(config, bundle.model_id) for bundle in bundles), "all stay, to explain what they scored"
    shutil.rmtree(place.with_name("bundle.past"))
    with pytest.raises(vm.DataError, match="nothing to go back to"):
        roll_back(place)


def scored(p_value: np.ndarray, budget: float) -> pa.Table:
    return pa.table({"anomaly_score": -np.log10(p_value), "anomaly_p_value": p_value, "is_anomaly": p_value < budget})


def test_ranks_that_are_equal_share_their_mean() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 20, 500).astype(float), rng.integers(0, 20, 500).astype(float)
    assert correlate_ranks(left, right) == pytest.approx(spearmanr(left, right).statistic)
    assert correlate_ranks(left, np.zeros(500)) == 1.0


def test_the_measures_on_rows_that_are_known() -> None:
    p_value = (np.arange(20_000) + 0.5) / 20_000
    loud = np.minimum(p_value, p_value**2 * 4)  # twice as many rows below each small level, or more
    known = np.arange(20_000) < 5
    same = measure(scored(p_value, 0.001), scored(p_value, 0.001), known, 100, 0.001)
    assert (same.overlap, same.flipped, same.missed, same.alerts) == (1.0, (), 0, (20, 20))
    assert calibration_factor(same) == pytest.approx(1.0, rel=0.01)
    assert all(rule.ok for rule in apply_rules(same, Compare()))
    other = measure(scored(p_value, 0.001), scored(loud, 0.001), known, 100, 0.001)
    assert other.overlap == 1.0 and other.correlation == pytest.approx(1.0)
    assert calibration_factor(other) == pytest.approx(0.0158 / 0.001, rel=0.01)
    assert [rule.ok for rule in apply_rules(other, Compare())] == [True, True, False, False, True, True]
    back = measure(scored(p_value, 0.001), scored(p_value[::-1].copy(), 0.001), known, 100, 0.001)
    assert (back.overlap, back.missed, len(back.flipped)) == (0.0, 5, 40)
    assert back.correlation == pytest.approx(-1.0)


def test_a_challenger_that_finds_fewer_planted_faults_is_refused() -> None:
    champion = SelfTest(100, 0.0, tuple(Detection(name, "NULL", 50, 0.9, 0.99, 1.0) for name in ("a", "b")))
    deaf = SelfTest(100, 0.0, (Detection("a", "NULL", 50, 0.6, 0.9, 1.0), Detection("c", "NULL", 50, 0.0, 0.5, None)))
    assert measure_detection_loss(champion, deaf) == pytest.approx(0.3)
    assert measure_detection_loss(deaf, champion) == pytest.approx(-0.3)
    assert measure_detection_loss(champion, None) == measure_detection_loss(None, deaf) == 0.0
    rows = pa.table({"anomaly_score": [1.0, 2.0], "anomaly_p_value": [0.1, 0.01], "is_anomaly": [False, False]})
    same = measure(rows, rows, np.zeros(2, np.bool_), 1, 0.001)
    refused = [rule.name for rule in apply_rules(same, Compare(), 0.3) if not rule.ok]
    assert refused == ["planted faults found, less than the champion"]
