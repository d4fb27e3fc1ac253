"""The preference model: votes are read and drawn, each objective learns from few, and what it is worth is told."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mediator.acceptance import Acceptance
from mediator.errors import InputError
from mediator.resources import asset
from trainer.config import ConfigError, load_settings
from trainer.preference.config import PreferenceConfig
from trainer.preference.data import Statement, counts_of, drawn_raters, load_votes
from trainer.preference.figures import (
    PENALTIES,
    chosen,
    constant_predictor,
    figures_of,
    head_predictor,
    left_out,
    mean_of,
    measure,
    names_of,
)
from trainer.preference.recipe import encoded, fit, train
from ui.cli import main

OBJECTIVES = ("soft", "no_aggregation", "major", "r_q", "q_r")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def settings(**values: Any) -> PreferenceConfig:
    return PreferenceConfig.model_validate(values)


def made_up(count: int = 40, talks: int = 4, seed: int = 0) -> tuple[list[Statement], Any]:
    """Statements with five features, of which the first says how many agree, and another mean in each conversation."""
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(count * talks, 5))
    share = 1 / (1 + np.exp(-1.5 * features[:, 0] - 0.5))
    agree = chance.binomial(30, share)
    statements = [
        Statement(f"talk {at % talks}", f"statement {at}", (int(yes), int(30 - yes), 0)) for at, yes in enumerate(agree)
    ]
    return statements, features


# -- votes -----------------------------------------------------------------------------------------------------------


def line(**changes: Any) -> str:
    whole = {"text": "Plant more trees.", "agree": 3, "disagree": 1, "pass": 2, "groups": {}}
    return json.dumps({name: value for name, value in (whole | changes).items() if value is not None}) + "\n"


def test_votes_are_read_by_conversation(tmp_path: Path) -> None:
    groups = {"0": {"agree": 3, "disagree": 0, "pass": 1}, "1": {"agree": 0, "disagree": 1, "pass": 1}}
    (tmp_path / "trees.jsonl").write_text(line(groups=groups) + line(agree=0, disagree=0, text="Nobody took a stand."))
    (tmp_path / "lamps.jsonl").write_text(line(text=" Fewer lamps. ", groups=None))
    lamps, trees = load_votes(tmp_path)
    assert lamps == Statement("lamps", "Fewer lamps.", (3, 1, 2))
    assert trees == Statement("trees", "Plant more trees.", (3, 1, 2), ((3, 0, 1), (0, 1, 1)))
    assert trees.share == 0.75
    assert load_votes(tmp_path / "lamps.jsonl") == [lamps]
    assert counts_of([lamps, trees], count_pass=True).tolist() == [[3, 1, 2], [3, 1, 2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line(text=""), "line 1: `text` is missing or empty"),
        (line() + line(agree=-1), "line 2: `agree` is no whole number of votes"),
        (line(disagree=None), "line 1: `disagree` is no whole number"),
        (line(groups={"a": {"agree": 1, "disagree": 0}}), "line 1: `groups.a.pass` is no whole number"),
        (line(groups=[1]), "line 1: `groups` is no object"),
        (line(agree=0, disagree=0), "holds no statement with votes"),
    ],
)
def test_a_file_of_votes_that_does_not_fit(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        load_votes(tmp_path)


def test_raters_are_drawn_without_putting_any_back() -> None:
    counts = np.tile(np.array([[30, 10], [2, 1], [0, 5]]), (400, 1))
    drawn = drawn_raters(counts, 4, seed=1)
    assert (drawn <= counts).all()
    assert sorted(set(drawn.sum(axis=1).tolist())) == [3, 4]
    assert drawn[1].tolist() == [2, 1]
    # Three in four agree: of 4 votes 3, give or take 5 standard errors of 400 draws.
    assert drawn[::3, 0].mean() == pytest.approx(3, abs=5 * math.sqrt(4 * 0.75 * 0.25 / 400))
    assert (drawn == drawn_raters(counts, 4, seed=1)).all()
    assert (drawn != drawn_raters(counts, 4, seed=2)).any()
    assert (drawn_raters(counts, 0, seed=1) == counts).all()
    changed = counts.copy()
    changed[0] = [0, 3]  # fewer numbers are drawn for it, of which the other rows must not hear
    assert (drawn_raters(changed, 4, seed=1)[1:] == drawn[1:]).all()


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (((10, 0, 0), (0, 10, 0)), math.sqrt(0.5)),  # shares 1 and 0: variance 1/2, no noise
        (((5, 5, 0), (5, 5, 3)), 0.0),
        # Shares 0.6 and 0.4: variance 0.02, and chance alone makes 0.24 / 9 = 0.027 of it.
        (((6, 4, 0), (4, 6, 0)), 0.0),
        # 0.9 and 0.3 of 10 and of 20: 0.18 - (0.09 / 9 + 0.21 / 19) / 2.
        (((9, 1, 0), (6, 14, 0)), math.sqrt(0.18 - (0.01 + 0.21 / 19) / 2)),
        (((10, 0, 0), (0, 4, 9)), None),  # the second group has hardly voted
        ((), None),
    ],
)
def test_how_far_the_groups_differ(groups: tuple[tuple[int, int, int], ...], expected: float | None) -> None:
    found = Statement("talk", "text", (1, 1, 0), groups).disagreement
    assert found is None if expected is None else found == pytest.approx(expected)


# -- the head --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "expected"), [("soft", 3.1 / 4.2), ("no_aggregation", 0.75), ("major", 1.0)])
def test_a_free_head_says_what_its_objective_asks_for(objective: str, expected: float) -> None:
    """One feature for each of two kinds of statements: 3 of 4 agree with the one, 1 of 4 with the other."""
    features, counts = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[3, 1], [1, 3]])
    head = Acceptance(fit(features, counts, settings(objective=objective)), ("agree", "disagree"), "", np.zeros(0), {})
    assert head.shares(features) == pytest.approx([expected, 1 - expected], abs=0.01)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_learns_from_four_votes_what_holds_elsewhere(objective: str) -> None:
    statements, features = made_up()
    votes = drawn_raters(counts_of(statements), 4, seed=0)
    config = settings(objective=objective, penalty=0.3)
    found = figures_of(statements, left_out(statements, features, votes, head_predictor(config)))
    assert np.mean(found.rank) > 0.75
    assert np.mean(found.brier) < np.mean(figures_of(statements, np.full(len(statements), 0.5)).brier) - 0.02


def test_passing_may_be_an_answer() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0]])
    head = Acceptance(fit(features, np.array([[2, 1, 1], [1, 1, 6]]), settings()), ("a", "d", "p"), "", np.zeros(0), {})
    assert head.probabilities(features)[1].tolist() == pytest.approx([1.1 / 8.3, 1.1 / 8.3, 6.1 / 8.3], abs=0.01)
    assert head.shares(features) == pytest.approx([2.1 / 3.2, 0.5], abs=0.01)


def test_a_hidden_layer_learns_what_no_line_can() -> None:
    features = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]] * 5)
    counts = np.array([[9, 1], [9, 1], [1, 9], [1, 9]] * 5)

    def shares(hidden: int) -> list[float]:
        layers = fit(features, counts, settings(hidden=hidden))
        assert len(layers) == (2 if hidden else 1)
        return Acceptance(layers, ("agree", "disagree"), "", np.zeros(0), {}).shares(features[:4])

    assert shares(0) == pytest.approx([0.5] * 4, abs=0.01)
    assert shares(8) == pytest.approx([0.9, 0.9, 0.1, 0.1], abs=0.05)


# -- what it is worth ------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_votes() -> None:
    statements = [Statement("talk", f"{at}", (at, 10 - at, 3)) for at in range(10)]
    predicted = np.linspace(0.95, 0.05, 10)
    found = figures_of(statements, predicted)
    losses, briers = [], []
    for at, share in enumerate(predicted):
        losses += [-math.log(share)] * at + [-math.log(1 - share)] * (10 - at)
        briers += [(1 - share) ** 2] * at + [share**2] * (10 - at)
    assert found.log_loss == (pytest.approx(np.mean(losses)),)
    assert found.brier == (pytest.approx(np.mean(briers)),)
    assert found.rank == (pytest.approx(-1),)
    assert np.isnan(found.groups[0])  # nothing is known of groups
    assert found.quantiles[[0, 50, 100]].tolist() == pytest.approx([0.05, 0.5, 0.95])


def test_what_is_predicted_was_not_learned_from() -> None:
    statements, features = made_up(5, 3)
    seen = []

    def predictor(names: Any, known: Any, counts: Any, unseen: Any) -> Any:
        seen.append((set(names.tolist()), len(known), len(counts), len(unseen)))
        return np.full(len(unseen), 0.5)

    left_out(statements, features, counts_of(statements), predictor)
    everyone = {"talk 0", "talk 1", "talk 2"}
    assert [(everyone - names, *sizes) for names, *sizes in seen] == [({f"talk {n}"}, 10, 10, 5) for n in range(3)]
    seen.clear()
    sisters = {"talk 0": "town.trees", "talk 1": "club", "talk 2": "town.lamps"}
    statements = [replace(one, conversation=sisters[one.conversation]) for one in statements]
    left_out(statements, features, counts_of(statements), predictor)
    assert seen == [({"town.trees", "town.lamps"}, 10, 10, 5), ({"club"}, 5, 5, 10)]


def test_a_host_of_many_conversations_counts_once_and_is_drawn_whole() -> None:
    values, hosts = [1.0, 2.0, 3.0, 8.0, math.nan, math.nan], ["a", "a", "a", "b", "b", "c"]
    mean, ends = mean_of(values, hosts)
    assert (mean, *ends) == (5.0, 2.0, 8.0)  # of (2, 8): both drawn twice in a quarter of the draws
    mean, ends = mean_of(values, hosts, [1, 1, 1, 1, 1, 1])
    assert (mean, *ends) == (14 / 4, 2.0, 8.0)
    assert mean_of(values, hosts, [1, 1, 2, 4, 1, 1])[0] == pytest.approx((1 + 2 + 6 + 32) / 8)
    assert all(np.isnan(value) for value in (mean_of([math.nan], ["a"])[0], *mean_of([math.nan], ["a"])[1]))


def test_the_penalty_is_chosen_by_what_it_does_elsewhere() -> None:
    statements, features = made_up(20, 6)
    noise = np.random.default_rng(1).normal(size=(len(features), 20))
    names, votes = names_of(statements), drawn_raters(counts_of(statements), 4, seed=0)
    useful, useless = (chosen(names, known, votes, settings()).penalty for known in (features, noise))
    assert useful == PENALTIES[0]
    assert useless > useful
    assert chosen(names, features, votes, settings(penalty=7.0)).penalty == 7


def test_the_penalty_is_not_chosen_by_knowing_the_host() -> None:
    """Where only the host says how many agree, nothing that is learned holds for another host."""
    chance = np.random.default_rng(0)
    code, share = np.repeat(chance.normal(size=(6, 8)), 40, axis=0), np.repeat(chance.permutation(6) / 6 + 0.08, 40)
    votes = chance.multinomial(20, np.stack([share, 1 - share], axis=1))
    talks = {dot: np.array([f"host {at // 40}{dot}{at // 20 % 2}" for at in range(240)]) for dot in "-."}
    as_strangers, as_sisters = (chosen(talks[dot], code, votes, settings()).penalty for dot in "-.")
    assert as_strangers == PENALTIES[0]
    assert as_sisters == PENALTIES[-1]
    of_one_host = np.array([f"host.{name}" for name in talks["-"]])
    assert chosen(of_one_host, code, votes, settings()).penalty == PENALTIES[0]


def test_only_what_beats_the_constant_is_said_to() -> None:
    statements, features = made_up(20, 6)
    good = measure(statements, features, counts_of(statements), settings(penalty=0.3))
    assert good
    assert good.constant
    assert good.beats_the_constant()
    told = good.as_json()
    assert (told["hosts"], told["conversations"], told["statements"]) == (6, 6, 120)
    assert 0 < told["log_loss_gain"]["low"] < told["log_loss_gain"]["value"] < told["log_loss_gain"]["high"]
    gain = np.mean(good.constant.log_loss) - np.mean(good.log_loss)
    assert told["log_loss_gain"]["value"] == pytest.approx(gain, abs=1e-4)
    assert told["log_loss_gain"] == told["log_loss_gain_by_conversation"]  # each host held one
    noise = np.random.default_rng(1).normal(size=features.shape)
    bad = measure(statements, noise, counts_of(statements), settings(penalty=0.3))
    assert bad
    assert not bad.beats_the_constant()
    sisters = [replace(one, conversation=f"host {at % 2}.{one.conversation}") for at, one in enumerate(statements)]
    assert measure(sisters, features, counts_of(statements), settings()) is None
    constant = left_out(statements, features, counts_of(statements), constant_predictor)
    elsewhere = np.mean([one.share for one in statements if one.conversation != "talk 0"])
    assert constant[0] == pytest.approx(elsewhere)


# -- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four conversations in which people want more of what is green and quiet, and fewer fees and fines."""
    folder, chance = tmp_path_factory.mktemp("votes"), random.Random(0)
    for talk, place in enumerate(("park", "square", "station", "market")):
        things = [(thing, 11, 2) for thing in ("trees", "benches", "flowers", "shade")]
        things += [(thing, 2, 9) for thing in ("fines", "fees", "fences", "noise")]
        lines = [
            line(text=f"Put more {thing} at the {place}.", agree=agree + chance.randrange(3), disagree=against)
            for thing, agree, against in things
        ]
        (folder / f"{talk}.jsonl").write_text("".join(lines))
    return folder


def test_a_model_is_trained_measured_and_saved(votes: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "model"
    assert main(["train", "preference", "--set", f"votes={votes}", "--set", f"output={folder}", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((folder / "evenhand.json").read_text(encoding="utf-8"))
    assert facts["statements"] == 32
    assert facts["penalty"] in PENALTIES
    assert facts["measured"]["conversations"] == 4
    texts = ["Put more trees and benches at the school.", "Put more fines and fees at the school."]
    features, encoder = encoded("bundled", [Statement("", text, (1, 0, 0)) for text in texts])
    head = Acceptance.load(folder, encoder)
    good, bad = head.shares(features)
    assert good > bad + 0.1
    assert head.measured == facts["measured"]
    assert len(head.quantiles) == 101
    assert main(["train", "preference", "--set", f"votes={votes}", "--set", f"output={folder}"]) == 2
    assert f"{folder} is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "No votes are named"),
        ({"votes": "none"}, "No folder is named for the result"),
        ({"votes": "none", "output": "out"}, "There is no file"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, str], words: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        train(settings(**changes))
    with pytest.raises(ConfigError, match="preference has no setting 'objektive'"):
        load_settings(PreferenceConfig, "preference", None, ["objektive=soft"])


def test_the_file_of_the_recipe_says_what_its_class_says() -> None:
    path = asset("recipes", "preference.yaml")
    assert load_settings(PreferenceConfig, "preference", path) == PreferenceConfig()
    lines = path.read_text(encoding="utf-8").splitlines()
    named = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert {lines[number].split(":")[0] for number in named} == set(PreferenceConfig.model_fields)
    assert all(lines[number - 1].startswith("# ") and "# --" not in lines[number - 1] for number in named)


def test_the_help_explains_each_setting(capsys: Any) -> None:
    assert main(["train", "preference", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, field in PreferenceConfig.model_fields.items():
        assert f"{name} [" in shown
        assert " ".join(str(field.description).split()) in shown
