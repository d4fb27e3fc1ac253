"""The empathy recipe: it learns, repeats itself on a seed, keeps raters apart, and its losses are the stated ones."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the hf extra")
pytest.importorskip("sentence_transformers", reason="needs the hf extra")

from sentence_transformers import SentenceTransformer  # noqa: E402
from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: E402

from mediator.encoders import GGUFEncoder, SentenceTransformersEncoder, file_fingerprint  # noqa: E402
from mediator.errors import InputError, ModelFileError  # noqa: E402
from mediator.resources import asset  # noqa: E402
from trainer.config import ConfigError, load_settings  # noqa: E402
from trainer.empathy.best_epoch import BestEpoch, EqualRatingsError, check_ratings, followed  # noqa: E402
from trainer.empathy.config import EmpathyConfig  # noqa: E402
from trainer.empathy.data import Contrast, contrasts_of_claims, load_ratings, split_by_rater  # noqa: E402
from trainer.empathy.figures import (  # noqa: E402
    Estimate,
    bootstrap,
    evaluate_ratings,
    remembering,
    scores_of_ratings,
    within_rater_spearman,
)
from trainer.empathy.losses import correlation_loss, ranking_loss, side_loss  # noqa: E402
from trainer.empathy.recipe import (  # noqa: E402
    WeightsNotFiniteError,
    blend_weights,
    load_base,
    load_training_data,
    run,
    train,
)
from trainer.empathy.regression import divide, regress  # noqa: E402
from trainer.empathy.towers import LayersTower, NormTower  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
PLACES = ["park", "street", "library", "market", "station", "school"]
CALM = ["more benches", "quiet hours", "more trees", "softer light", "a reading corner", "a fountain"]
STRICT = ["more guards", "cameras", "a fence", "police at night", "a curfew", "fines"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a random BERT of two layers with letters as its vocabulary."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder / "bert")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    word = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[word, Pooling(32)]).save(str(folder / "model"))
    (folder / "model" / "README.md").write_text("---\nlicense: mit\n---\nThe base, untouched.\n", encoding="utf-8")
    return folder / "model"


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """Twelve raters with three made-up pairs each; whoever wants calm feels for calm and not for strictness."""
    path = tmp_path / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for rater in range(12):
            calm, strict = CALM[rater % 6], STRICT[rater % 6]
            own = {"place": f"a {PLACES[rater % 6]} {'by day' if rater < 6 else 'late'}", "suggestion": calm}
            for other, empathy in ((CALM[(rater + 1) % 6], 90), (strict, 20), (STRICT[(rater + 2) % 6], 30)):
                view_b = {"place": f"a {PLACES[(rater + 1) % 6]}", "reason": "feels unsafe", "suggestion": other}
                file.write(json.dumps({"view_a": own, "view_b": view_b, "empathy": empathy}) + "\n")
    return path


def settings(base: Path, ratings: Path, **changes: object) -> EmpathyConfig:
    values = {
        "base": str(base),
        "ratings": str(ratings),
        "epochs": 12,
        "batch_raters": 10,
        "learning_rate": 1e-3,
        "learns": "layers",
        "frozen_layers": 1,
        "side_weight": 1.0,
        "blend": 1.0,
        "held_out": 1 / 6,
    }
    return EmpathyConfig(**{**values, **changes})


@pytest.mark.parametrize(
    ("learns", "loss", "rate", "share", "part"),
    [  # 64 numbers cannot go as far as a whole layer
        ("layers", "ranking", 3e-3, 0.8, "encoder.layer.1."),
        ("layers", "correlation", 3e-3, 0.8, "encoder.layer.1."),
        ("norm", "ranking", 5e-2, 0.97, "encoder.layer.1.output.LayerNorm"),
    ],
)
def test_training_lowers_both_losses_and_touches_nothing_else(
    base: Path, ratings: Path, learns: str, loss: str, rate: float, share: float, part: str
) -> None:
    config = settings(base, ratings, learns=learns, rating_loss=loss, epochs=60, learning_rate=rate)
    model = load_base(str(base), threads=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = train(model, load_training_data(config), config)
    assert len(history) == 60
    for signal in ("rating", "side"):
        first, last = (np.mean([step[signal] for step in steps]) for steps in (history[:3], history[-3:]))
        assert last < share * first, signal
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(part in name for name in changed)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(base: Path, ratings: Path) -> None:
    def weights(seed: int) -> "torch.Tensor":
        config = settings(base, ratings, seed=seed, epochs=2, batch_raters=5)
        model = load_base(str(base), threads=1)
        train(model, load_training_data(config), config)
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(("learns", "rate"), [("layers", 3e-3), ("norm", 0.3)])
def test_the_ranking_keeps_the_epoch_that_the_validation_raters_choose(
    base: Path, ratings: Path, learns: str, rate: float
) -> None:
    config = settings(base, ratings, validation=0.25, held_out=0.0, epochs=8, learning_rate=rate, learns=learns)
    data, told = load_training_data(config), list[str]()
    assert [len(data.raters), len(data.validation)] == [9, 3]
    assert not {rater[0].rater for rater in data.raters} & {rater[0].rater for rater in data.validation}
    # Whoever rates the other way round is followed the less, the more is learned.
    data.validation = [[replace(pair, rating=1 - pair.rating) for pair in rater] for rater in data.raters]
    model = load_base(str(base), threads=1)
    train(model, data, config, told.append)
    reached = [float(line.rpartition(" ")[2]) for line in told if "validation raters" in line]
    assert len(reached) == 8
    assert max(reached) > reached[-1] + 0.01
    found = within_rater_spearman(scores_of_ratings(remembering(model), data.validation))
    assert found == pytest.approx(max(reached), abs=1e-3)


def test_a_collapsed_epoch_is_never_chosen_and_is_said() -> None:
    def chosen(*reached: float) -> tuple[int | None, list[str]]:
        best, told = BestEpoch[int](), list[str]()
        for epoch, one in enumerate(reached):
            best.offer(one, lambda epoch=epoch: epoch)  # type: ignore[misc]
        best.tell_collapsed(told.append)
        return best.kept, told

    nan = math.nan
    assert chosen(0.1, 0.3, 0.2) == (1, [])
    epoch, (said,) = chosen(nan, -0.2, nan, -0.3)
    assert epoch == 1
    assert "after 2 of 4 epochs" in said
    epoch, (said,) = chosen(nan, nan)
    assert epoch is None
    assert "No epoch could be chosen: after 2 of 2 epochs" in said
    assert "the last epoch's" in said


def test_an_encoder_that_tells_nothing_apart_follows_nobody() -> None:
    ratings = [np.array([0.1, 0.9, 0.4]), np.array([0.3, 0.2])]
    for flat in (0.7, math.nan):
        raters = [(np.full(len(rated), flat, np.float32), rated) for rated in ratings]
        assert math.isnan(followed(raters, within=True))
        assert math.isnan(followed(raters, within=False))
    levels = [(np.full(len(rated), level, np.float32), rated) for level, rated in zip((0.3, 0.7), ratings, strict=True)]
    assert math.isnan(followed(levels, within=True))
    assert not math.isnan(followed(levels, within=False))
    assert math.isnan(followed([(np.array([0.3]), np.array([0.5]))], within=True))


@pytest.mark.parametrize("objective", ["ranking", "cosine"])
def test_weights_that_are_no_numbers_choose_no_epoch_and_are_not_saved(
    base: Path, ratings: Path, tmp_path: Path, objective: str
) -> None:
    changes = {"epochs": 2, "objective": objective, "learning_rate": 1e30, "validation": 0.25}
    config, told = settings(base, ratings, held_out=0.0, **changes), list[str]()
    model = load_base(str(base), threads=1)
    if objective == "cosine":
        pairs = load_ratings(ratings)
        regress(model, pairs, pairs[:6], config, told.append)
    else:
        train(model, load_training_data(config), config, told.append)
    assert any("No epoch could be chosen: after 2 of 2 epochs" in line for line in told)
    output = tmp_path / "output"
    measured = {**changes, "held_out": 0.25, "output": str(output)}
    with pytest.raises(
        WeightsNotFiniteError, match=r"no finite numbers, and nothing was saved\. Lower `learning_rate`"
    ):
        run(settings(base, ratings, **measured), told.append)
    assert not output.exists()


@pytest.mark.parametrize("objective", ["ranking", "cosine"])
def test_equal_validation_ratings_are_refused_before_anything_is_trained(
    ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: str
) -> None:
    pairs = load_ratings(ratings)
    by_rater = [pairs[place : place + 3] for place in range(0, 36, 3)]
    levels = [[replace(pair, rating=place / 12) for pair in rater] for place, rater in enumerate(by_rater)]
    check_ratings(by_rater, True, "pairs.jsonl")
    check_ratings(levels, False, "pairs.jsonl")
    check_ratings([], True, "pairs.jsonl")
    with pytest.raises(EqualRatingsError, match=r"pairs\.jsonl: the 36 ratings .* no two different ones of the same"):
        check_ratings(levels, True, "pairs.jsonl")
    lines = [json.loads(line) for line in ratings.read_text(encoding="utf-8").splitlines()]
    equal = tmp_path / "equal.jsonl"
    equal.write_text("".join(json.dumps({**line, "empathy": 50}) + "\n" for line in lines), encoding="utf-8")
    options = {"base": tmp_path / "is not read", "ratings": equal, "objective": objective, "validation": 0.25}
    assert command(*(f"--set={name}={value}" for name, value in options.items())) == 2
    assert "equal.jsonl: the 9 ratings of the validation set" in capsys.readouterr().err


def test_blending_interpolates_between_untouched_and_tuned(base: Path, ratings: Path) -> None:
    tuned, halfway = load_base(str(base), threads=1), load_base(str(base), threads=1)
    start = {name: value.clone() for name, value in tuned.state_dict().items()}
    name = next(name for name in start if name.endswith("layer.1.output.dense.weight"))
    with torch.no_grad():
        for model in (tuned, halfway):
            model.state_dict()[name].add_(1.0)
    blend_weights(halfway, start, 0.25)
    assert torch.allclose(halfway.state_dict()[name], start[name] + 0.25, atol=1e-6)
    blend_weights(tuned, start, 0.0)
    assert torch.allclose(tuned.state_dict()[name], start[name], atol=1e-6)


@pytest.mark.parametrize("tower", [NormTower, LayersTower])
def test_an_untrained_pass_gives_the_vectors_of_sentence_transformers(
    base: Path, ratings: Path, tower: type[NormTower] | type[LayersTower]
) -> None:
    """What is run once and what is run at each step, padded differently, are together the encoder itself."""
    model = load_base(str(base), threads=1).eval()
    cut = tower(model, settings(base, ratings))
    model.eval()
    texts = ["a park", "a street by day, quiet hours and more trees.", "late", "a park"]
    with torch.no_grad():
        ours = cut.embed(texts).numpy()
    theirs = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(ours - theirs).max() < 1e-5


def test_what_the_norm_learns_is_what_the_model_computes_afterwards(base: Path, ratings: Path) -> None:
    model = load_base(str(base), threads=1).eval()
    norm = NormTower(model, settings(base, ratings))
    texts = ["a park", "quiet hours and more trees.", "late"]
    with torch.no_grad():
        for weight in norm.parameters():
            weight.add_(torch.randn(32, generator=torch.Generator().manual_seed(2)) * 0.5)
        expected = norm.embed(texts).numpy()
    norm.keep()
    assert np.abs(model.encode(texts, normalize_embeddings=True, show_progress_bar=False) - expected).max() < 1e-5


def test_ranking_loss_by_hand() -> None:
    cosines, ratings = torch.tensor([0.5, 0.2, 0.9]), torch.tensor([0.1, 0.8, 0.3])
    # Group 0 holds items 0 and 1: 0 is rated lower, so exp(2 * (0.5 - 0.2)); item 2 stands alone in its group.
    loss = ranking_loss(cosines, ratings, torch.tensor([0, 0, 1]), scale=2.0)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(0.6)))
    assert float(ranking_loss(cosines, ratings, torch.tensor([0, 1, 2]), scale=2.0)) == 0.0


def test_correlation_loss_by_hand() -> None:
    cosines, ratings = torch.tensor([0.5, 0.2, 0.9, 0.3, 0.1]), torch.tensor([0.1, 0.8, 0.3, 0.9, 0.8])
    # Less their means: group 0 has 0.15, -0.15 and -0.35, 0.35; group 2 has 0.1, -0.1 and 0.05, -0.05; one is alone.
    groups = torch.tensor([0, 0, 1, 2, 2])
    expected = 2 * (-0.15 * 0.35 + 0.1 * 0.05) / math.sqrt(2 * (0.15**2 + 0.1**2) * 2 * (0.35**2 + 0.05**2))
    assert float(correlation_loss(cosines, ratings, groups)) == pytest.approx(1 - expected, abs=1e-4)
    assert float(correlation_loss(cosines, ratings, torch.arange(5))) == 1.0


def test_side_loss_by_hand() -> None:
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    answers = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # both answers lie on anchor 0
    nothing_same = torch.zeros(2, 2, dtype=torch.bool)
    # Rows (anchor -> answers): logits [2, 2] and [0, 0], so ln 2 each. Columns (answer -> anchors): [2, 0] twice.
    columns = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    loss = side_loss(anchors, answers, nothing_same, temperature=0.5)
    assert float(loss) == pytest.approx((math.log(2) + columns) / 2)
    assert float(side_loss(anchors, answers, ~torch.eye(2, dtype=torch.bool), temperature=0.5)) == pytest.approx(0.0)


def test_no_rater_is_on_both_sides_of_the_split(ratings: Path) -> None:
    pairs = load_ratings(ratings)
    training, held_out = split_by_rater(pairs, held_out=0.25, seed=3)
    assert len(held_out) == 3
    assert not {rater[0].rater for rater in training} & {rater[0].rater for rater in held_out}
    assert sum(map(len, training)) + sum(map(len, held_out)) == len(pairs)
    assert split_by_rater(list(reversed(pairs)), held_out=0.25, seed=3)[1][0][0].rater == held_out[0][0].rater


def test_left_out_rows_and_their_raters_are_not_trained_on(base: Path, ratings: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text('{"row": 0}\n{"row": 7}\n', encoding="utf-8")
    other.write_text('{"row": 35}\n', encoding="utf-8")
    of_one = {0, 1, 2, 6, 7, 8}  # three rows per rater
    for left_out, missing in ((str(one), of_one), ([str(one), str(other)], {*of_one, 33, 34, 35}), ("", set())):
        data = load_training_data(settings(base, ratings, left_out=left_out, held_out=0.0))
        assert {pair.row for rater in data.raters for pair in rater} == set(range(36)) - missing
        assert len(data.sides) == 36 - len(missing)  # neither their ratings nor their own suggestions


@pytest.mark.parametrize("line", ["{}", '{"row": "7"}', '{"row": -1}', '{"row": true}'])
def test_a_left_out_line_without_a_row_is_named(base: Path, ratings: Path, tmp_path: Path, line: str) -> None:
    left_out = tmp_path / "sets.jsonl"
    left_out.write_text('{"row": 0}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"sets\.jsonl, line 2: `row` is"):
        load_training_data(settings(base, ratings, left_out=[str(left_out)]))


def test_claims_become_contrasts_that_use_a_perspective_once(tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    claims = [
        {"claim": "x", "support": ["s1", "s2", "s3", "s4"], "undermine": ["u1", "u2", "u3"]},
        {"claim": "y", "support": ["t1"], "undermine": ["v1", "v2"]},
    ]
    path.write_text("".join(json.dumps(claim) + "\n" for claim in claims), encoding="utf-8")
    (contrast,) = contrasts_of_claims(path, seed=0)
    assert isinstance(contrast, Contrast)
    assert len({*contrast.anchors, *contrast.answers}) == 4
    for anchor, answer in zip(contrast.anchors, contrast.answers, strict=True):
        assert anchor[0] == answer[0]


def test_a_rater_who_is_always_generous_does_not_count_as_agreement() -> None:
    """Raw ranks follow who rates; within a rater the order here is reversed."""
    raters = [
        (np.array([0.9, 0.8]), np.array([0.85, 0.95])),
        (np.array([0.2, 0.1]), np.array([0.15, 0.25])),
    ]
    assert within_rater_spearman(raters) < 0
    raw = np.corrcoef(np.concatenate([c for c, _ in raters]), np.concatenate([r for _, r in raters]))[0, 1]
    assert raw > 0.9


def test_bootstrap_draws_groups_and_repeats_itself() -> None:
    groups = list(np.random.default_rng(1).normal(2.0, 1.0, 400))
    estimate = bootstrap(groups, lambda drawn: float(np.mean(drawn)))
    assert estimate == bootstrap(groups, lambda drawn: float(np.mean(drawn)))
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


def test_evaluation_of_a_perfect_encoder(ratings: Path) -> None:
    pairs = load_ratings(ratings)
    _, held_out = split_by_rater(pairs, held_out=0.5, seed=0)

    def encode(texts: object) -> np.ndarray:
        calm = [any(word in text for word in CALM) for text in texts]  # type: ignore[attr-defined]
        return np.array([[1.0, 0.0] if one else [0.0, 1.0] for one in calm], dtype=np.float32)

    assert evaluate_ratings(encode, held_out)["within_rater"].value > 0.8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2: not valid JSON"),
        ('{"view_a": {"text": "a"}, "empathy": 3}', "line 2: the field 'view_b'"),
        ('{"view_a": {"text": "a"}, "view_b": {"text": "b"}, "empathy": 130}', "line 2: `empathy` is 130"),
        ('{"view_a": {"text": ""}, "view_b": {"text": "b"}, "empathy": 3}', "line 2: .*a view is empty"),
    ],
)
def test_bad_lines_are_named(ratings: Path, line: str, message: str) -> None:
    lines = ratings.read_text(encoding="utf-8").splitlines()
    ratings.write_text("\n".join([lines[0], line]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        load_ratings(ratings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["held_out=1.5"], "`held_out`"),
        (["learning_rate=0"], "`learning_rate`"),
        (["side_weight=-1"], "`side_weight`"),
        (["gguf=x.gguf"], "gguf needs output"),
        (["split_by=pair"], "split_by = pair goes with objective = cosine"),
        (["objective=cosine", "held_out=0.9", "validation=0.1"], "nothing is left"),
        (["objective=cosine", "opposing=x.jsonl"], "opposing goes with objective = ranking"),
        (["device=cuda"], "device = cuda goes with objective = cosine"),
        (["ratingz=x"], "empathy has no setting 'ratingz'"),
    ],
)
def test_bad_settings_are_named(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(EmpathyConfig, "empathy", None, changes)


@pytest.mark.parametrize(
    ("change", "setting", "value"),
    [
        ("prefix=", "prefix", ""),
        ("prefix=query: ", "prefix", "query: "),  # a mapping to YAML
        ("prefix='query: '", "prefix", "query: "),
        ("output=2024", "output", "2024"),
        ("left_out=", "left_out", []),
    ],
)
def test_a_setting_that_is_text_takes_any_text(change: str, setting: str, value: object) -> None:
    assert getattr(load_settings(EmpathyConfig, "empathy", None, ["objective=cosine", change]), setting) == value


def test_a_text_left_empty_in_the_file_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("stories:\nlearning_rate: 3e-4\n", encoding="utf-8")
    assert load_settings(EmpathyConfig, "empathy", file) == EmpathyConfig(learning_rate=3e-4)


def test_what_cannot_learn_is_refused(base: Path, ratings: Path) -> None:
    config = settings(base, ratings, frozen_layers=2)
    with pytest.raises(InputError, match="frozen_layers is 2; the encoder has 2"):
        train(load_base(str(base), threads=1), load_training_data(config), config)
    pairs = load_ratings(ratings)
    with pytest.raises(InputError, match="frozen_layers is 2; the encoder has 2"):
        regress(
            load_base(str(base), threads=1), pairs, [], settings(base, ratings, objective="cosine", frozen_layers=2)
        )
    config = settings(base, ratings, rating_weight=0.0, side_weight=0.0)
    with pytest.raises(InputError, match="nothing to train on"):
        train(load_base(str(base), threads=1), load_training_data(config), config)
    with pytest.raises(ModelFileError, match="holds no model"):
        load_base(str(ratings.parent))


def test_the_shipped_recipes_are_the_bundled_one_and_the_papers() -> None:
    bundled = load_settings(EmpathyConfig, "empathy", asset("recipes", "empathy.yaml"))
    assert bundled == EmpathyConfig()
    paper = load_settings(EmpathyConfig, "empathy", asset("recipes", "empathy-paper.yaml"))
    assert (paper.base, paper.objective, paper.frozen_layers) == ("intfloat/e5-large", "cosine", 0)
    assert (paper.split_by, paper.validation, paper.held_out) == ("pair", 0.05, 0.2)


@pytest.mark.parametrize("split_by", ["rater", "pair"])
def test_a_division_has_three_parts_that_share_nothing(ratings: Path, split_by: str) -> None:
    pairs = load_ratings(ratings)
    config = EmpathyConfig(objective="cosine", split_by=split_by, validation=1 / 6, held_out=1 / 3)
    parts = divide(pairs, config)
    assert [len(part) for part in parts] == [18, 6, 12]
    assert sorted(pair.row for part in parts for pair in part) == [pair.row for pair in pairs]
    raters = [{pair.rater for pair in part} for part in parts]
    assert bool(raters[0] & raters[2]) == (split_by == "pair")


@pytest.mark.parametrize("split_by", ["rater", "pair"])
def test_left_out_raters_are_neither_learned_from_nor_choose_the_epoch(
    ratings: Path, tmp_path: Path, split_by: str
) -> None:
    """And the others keep their places, so that what was left out of one encoder's training can measure another."""
    pairs = load_ratings(ratings)
    config = EmpathyConfig(objective="cosine", split_by=split_by, validation=1 / 3, held_out=1 / 3)
    before = divide(pairs, config)
    (tmp_path / "set.jsonl").write_text(
        "".join(json.dumps({"row": part[0].row}) + "\n" for part in before[:2]), encoding="utf-8"
    )
    hidden = {part[0].rater for part in before[:2]}
    after = divide(pairs, config.model_copy(update={"left_out": [str(tmp_path / "set.jsonl")]}))
    for old, new in zip(before[:2], after[:2], strict=True):
        assert 0 < len(new) < len(old)
        assert new == [pair for pair in old if pair.rater not in hidden]
    assert after[2] == before[2]
    with pytest.raises(InputError, match="no file"):
        divide(pairs, config.model_copy(update={"left_out": [str(tmp_path / "none.jsonl")]}))


def command(*options: str) -> int:
    from ui.cli import main

    return main(["train", "empathy", *options])


def test_the_papers_regression_fits_the_ratings_and_keeps_the_best_epoch(
    base: Path, ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"base": base, "ratings": ratings, "output": tmp_path / "tuned", "frozen_layers": 0, "threads": 1}
    options |= {"objective": "cosine", "split_by": "pair", "validation": 0.1, "epochs": 4, "learning_rate": 3e-3}
    options |= {"prefix": "ask: ", "gguf": tmp_path / "tuned.gguf", "precision": "f16"}
    assert command("--json", *(f"--set={name}={value}" for name, value in options.items())) == 0
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)["spearman"]) == {"before", "after", "gain"}
    epochs = [line for line in captured.err.splitlines() if "Spearman on the validation pairs" in line]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in epochs]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    before, after = (load_base(str(folder), threads=1) for folder in (base, tmp_path / "tuned"))
    learned = {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert any("embeddings" in name for name in learned), "with no frozen layers the embeddings learn too"
    scores_behind_its_prefix(tmp_path / "tuned", tmp_path / "tuned.gguf", "ask: ")


def scores_behind_its_prefix(folder: Path, file: Path, prefix: str) -> None:
    """The folder and the exported file give the vectors that were trained: behind the prefix, which the recipe knew."""
    texts = ["a park", "late", "quiet hours. " * 30]  # the last in several windows
    plain = load_base(str(folder), threads=1)
    expected = plain.encode([prefix + text for text in texts[:2]], prompt="", normalize_embeddings=True)
    by_folder, by_file = SentenceTransformersEncoder(str(folder)), GGUFEncoder(file)
    try:
        assert by_folder.encode(texts)[:2] == pytest.approx(expected, abs=1e-5)
        assert by_file.encode(texts) == pytest.approx(by_folder.encode(texts), abs=5e-3)
        assert by_file.fingerprint != file_fingerprint(file), "an older reader's vectors have no prefix in them"
        without = plain.encode(texts[:2], prompt="", normalize_embeddings=True)
        assert (1 - (without * expected).sum(axis=1)).min() > 0.01, "a forgotten prefix would be seen"
    finally:
        by_folder.close()
        by_file.close()


def test_the_regression_heeds_blend_left_out_licence_and_device(
    base: Path, ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"base": base, "ratings": ratings, "output": tmp_path / "same", "gguf": tmp_path / "same.gguf"}
    options |= {"objective": "cosine", "frozen_layers": 0, "epochs": 1, "learning_rate": 3e-3, "threads": 1, "blend": 0}
    command_of = [f"--set={name}={value}" for name, value in options.items()]
    assert command(*command_of) == 0
    before, after = (load_base(str(folder), threads=1).state_dict() for folder in (base, tmp_path / "same"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    gguf_package = pytest.importorskip("gguf", reason="needs the train extra")
    assert gguf_package.GGUFReader(tmp_path / "same.gguf").get_field("general.license") is None, "nobody said one"
    assert not (tmp_path / "same" / "README.md").exists(), "the base's card tells of the base"
    assert command(*command_of, f"--set=left_out={tmp_path / 'none.jsonl'}") == 2
    assert "none.jsonl" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert command(*command_of, "--set=device=cuda") == 2
        assert "torch sees no GPU" in capsys.readouterr().err


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_regression_is_the_same_on_a_gpu(base: Path, ratings: Path) -> None:
    pairs = load_ratings(ratings)
    config = settings(base, ratings, objective="cosine", frozen_layers=0, epochs=2)
    losses = []
    for device in ("cpu", "cuda"):
        model = load_base(str(base), threads=1, device=device)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # the two draw different numbers
        assert model.device.type == device
        losses.append(regress(model, pairs, pairs[:6], config))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_command_trains_measures_and_exports(
    base: Path, ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gguf_package = pytest.importorskip("gguf", reason="needs the train extra")
    target = tmp_path / "out" / "tuned.gguf"
    options = {"base": base, "ratings": ratings, "output": tmp_path / "tuned", "gguf": target, "precision": "f16"}
    options |= {"epochs": 2, "learns": "norm", "learning_rate": 0.1, "held_out": 0.5, "threads": 1}
    options |= {"licence": "cc-by-4.0"}
    assert command("--json", *(f"--set={name}={value}" for name, value in options.items())) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["spearman"]) == {"before", "after", "gain"}
    assert set(report["spearman"]["gain"]) == {"within_rater", "raw"}
    assert json.loads((tmp_path / "tuned" / "recipe.json").read_text(encoding="utf-8"))["epochs"] == 2
    tuned = load_base(str(tmp_path / "tuned"), threads=1)
    read = gguf_package.GGUFReader(target)
    assert read.get_field("general.license").contents() == "cc-by-4.0"
    written = {tensor.name: tensor.data for tensor in read.tensors}
    last = tuned[0].auto_model.encoder.layer[1].output
    assert np.array_equal(written["blk.1.layer_output_norm.weight"], last.LayerNorm.weight.detach().numpy())
    assert not np.array_equal(written["blk.1.layer_output_norm.weight"], np.ones(32, dtype=np.float32))
    assert np.array_equal(written["blk.1.ffn_down.weight"], last.dense.weight.detach().numpy().astype(np.float16))
    assert command(f"--set=base={base}", f"--set=ratings={tmp_path / 'nothing.jsonl'}") == 2
