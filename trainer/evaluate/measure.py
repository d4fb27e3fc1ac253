"""The measurements of the paper on named models, and the record of one: figures for each model, pair by pair."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, Self

from pydantic import Field, ValidationError

from mediator.atomic_file import write_whole
from mediator.errors import InputError
from mediator.schema import Record
from trainer.dataset.data import Example
from trainer.evaluate.answers import AnswerSettings, MeasuredModel
from trainer.evaluate.bootstrap import interval
from trainer.evaluate.demographics import NONE_THERE, with_demographics
from trainer.evaluate.forgetting import Likelihood, likelihood
from trainer.evaluate.neutrality import Scorer, leanings, leanings_of_candidates
from trainer.evaluate.rouge import references_of, rouge_of_answers
from trainer.evaluate.shared_views import Texts, texts_of, tied, widening
from trainer.progress import Reporter

Subject = Literal["rouge", "neutrality", "demographics", "forgetting"]

CANDIDATES = "candidates"
"""The row of the data set's own compromises."""


class NothingToMeasureError(InputError):
    """A data set holds no pair to measure on, or no model is named."""


class Figure(Record):
    """A mean with the ends of its 95 % interval, and what it is the mean of.

    ``values`` has one entry for each pair of the measurement (None where there was nothing to measure), or for each
    window of text, each weighing as much as it has tokens (``weights``).
    """

    mean: float
    low: float
    high: float
    values: tuple[float | None, ...]
    weights: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        values: Sequence[float | None],
        seed: int = 0,
        weights: Sequence[float] = (),
        views: Sequence[Texts] = (),
    ) -> Self:
        """Make the figure of values; of none, all is 0 and the interval says nothing.

        Args:
            values: see the class.
            seed: of the bootstrap.
            weights: see the class; none are all the same.
            views: of each pair (`trainer.evaluate.shared_views.texts_of`), where the values are of pairs: those with a
                common view are dependent, and the interval is widened where this shows. They have no weights.
        """
        present = [value for value in values if value is not None]
        if not present:
            return cls(mean=0.0, low=0.0, high=0.0, values=tuple(values), weights=tuple(weights))
        there = [each for each, value in zip(views, values, strict=True) if value is not None] if views else []
        low, high = interval(present, seed, weights or None, widening(present, there) if there else 1.0)
        heavy = weights or [1.0] * len(present)
        mean = math.fsum(v * w for v, w in zip(present, heavy, strict=True)) / math.fsum(heavy)
        return cls(mean=mean, low=low, high=high, values=tuple(values), weights=tuple(weights))

    @property
    def counted(self) -> int:
        """How many values there are."""
        return sum(value is not None for value in self.values)


class Measurement(Record):
    """What was measured: for each row (a model) its figures by name, and how.

    Attributes:
        subject: which of the paper's measurements it is.
        pairs: the ids of the pairs, in the order of the figures' values; empty where no pairs were read.
        rows: row -> name of the figure -> figure.
        settings: how the answers were written or the text was read.
        notes: sentences that a reader of the table needs.
    """

    subject: Subject
    pairs: tuple[str, ...] = ()
    rows: dict[str, dict[str, Figure]]
    settings: dict[str, str | int | float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises `InputError` for anything else."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise InputError(f"{path} is not a measurement.", "Delete it and measure again.") from error


@dataclass(frozen=True)
class MeasureSettings:
    """What all measurements share.

    Attributes:
        answers: how answers are written.
        seed: of the bootstrap.
        best_of: how many answers the row "best of N" draws; 1 leaves it out.
        best_of_model: whose answers; empty for the first model's.
        best_of_temperature: at which they are drawn.
        stemmer: whether ROUGE compares stems.
        window: tokens in one window of the text that may be forgotten.
        windows: the most windows; 0 for the whole text.
    """

    answers: AnswerSettings = field(default_factory=AnswerSettings)
    seed: int = 0
    best_of: int = 5
    best_of_model: str = ""
    best_of_temperature: float = 1.0
    stemmer: bool = False
    window: int = 512
    windows: int = 0


ReporterOf = Callable[[str], Reporter]
"""Makes a reporter for a piece of work of this name: a model, or a model with what it does."""


def _require(models: Sequence[MeasuredModel], examples: Sequence[Example] | None = None) -> None:
    if not models:
        raise NothingToMeasureError("No model is named.", "Give at least one: --model SFT=FOLDER.")
    if examples is not None and not examples:
        raise NothingToMeasureError("The data set holds no pair of views.", "Give another one, or a larger --limit.")


def prompts_of(examples: Sequence[Example], demographics: bool = True) -> list[str]:
    """The prompts of pairs, the same at training and here."""
    from trainer.models.prompting import prompt_of

    return [prompt_of(example, demographics) for example in examples]


def measure_rouge(
    models: Sequence[MeasuredModel], examples: Sequence[Example], settings: MeasureSettings, reporter_of: ReporterOf
) -> Measurement:
    """ROUGE-1 and ROUGE-L, F, maximum over a pair's references, of each model and of "best of N" (Table 2).

    "Best of N" draws N answers of one model and takes the one with the highest ROUGE-1 + ROUGE-L.

    Raises:
        NoReferencesError: a pair has no candidates.
        ModelFileError, Stopped: as `MeasuredModel.answers`.
    """
    _require(models, examples)
    for example in examples:
        references_of(example)  # before a model works for an hour
    chosen = settings.best_of_model or models[0].name
    if settings.best_of > 1 and all(model.name != chosen for model in models):
        raise InputError(f"--best-of-model {chosen!r} is none of the models.", "Give one of the names of --model.")
    prompts = prompts_of(examples)
    views = [texts_of(example) for example in examples]
    rows: dict[str, dict[str, Figure]] = {}
    different: list[str] = []

    def add(name: str, answers: Sequence[Sequence[str]]) -> None:
        different.append(f"{name} {len({texts[0] for texts in answers})}")
        found = rouge_of_answers(examples, answers, settings.stemmer)
        rows[name] = {
            "rouge1": Figure.of([one.rouge1 for one in found], settings.seed, views=views),
            "rougeL": Figure.of([one.rougeL for one in found], settings.seed, views=views),
            "words": Figure.of([float(len(texts[0].split())) for texts in answers], settings.seed, views=views),
        }

    notes = [
        f"ROUGE F, {'with' if settings.stemmer else 'without'} stemming, the maximum over a pair's references for each "
        "of the two.",
        *tie_notes(views),
    ]
    for model in models:
        add(model.name, model.answers(prompts, settings.answers, reporter_of(model.name)))
        if settings.best_of > 1 and model.name == chosen:
            name = best_of_name(settings)
            add(name, model.answers(prompts, best_of_settings(settings), reporter_of(f"{chosen}, {name}")))
            notes.append(
                f"{name}: of {settings.best_of} answers that {chosen} draws at temperature "
                f"{settings.best_of_temperature:g} the one with the highest ROUGE-1 + ROUGE-L. The choice reads the "
                "references, so it is a bound and not a method. Its words are those of the first answer."
            )
        model.release()
    notes.append(f"Different answers to {len(examples)} pairs: {', '.join(different)}.")
    return Measurement(
        subject="rouge",
        pairs=tuple(example.id for example in examples),
        rows=rows,
        settings={**_settings_of(settings.answers), "stemmer": int(settings.stemmer)},
        notes=tuple(notes),
    )


def best_of_settings(settings: MeasureSettings) -> AnswerSettings:
    """How the answers of the row "best of N" are drawn."""
    return replace(
        settings.answers, answers=settings.best_of, temperature=settings.best_of_temperature, seed=settings.seed
    )


def best_of_name(settings: MeasureSettings) -> str:
    """The row of the best of N answers."""
    return f"best of {settings.best_of}"


def measure_neutrality(
    models: Sequence[MeasuredModel],
    examples: Sequence[Example],
    scorer: Scorer,
    settings: MeasureSettings,
    reporter_of: ReporterOf,
) -> Measurement:
    """|score_A - score_B| of each model's answers, and their warmth min(A, B) (Figure 4).

    The row `CANDIDATES` has the same of the data set's own compromises, a pair's being the means over its candidates.
    """
    _require(models, examples)
    prompts = prompts_of(examples)
    views = [texts_of(example) for example in examples]
    rows: dict[str, dict[str, Figure]] = {}
    notes = [
        "Scores are calibrated for each view. An answer about nothing has no gap either: read it with the warmth.",
        *tie_notes(views),
    ]
    for model in models:
        answers = [texts[0] for texts in model.answers(prompts, settings.answers, reporter_of(model.name))]
        model.release()
        found = leanings(examples, answers, scorer)
        rows[model.name] = {
            "gap": Figure.of([one.gap if one else None for one in found], settings.seed, views=views),
            "warmth": Figure.of([one.warmth if one else None for one in found], settings.seed, views=views),
        }
        if empty := sum(one is None for one in found):
            notes.append(f"{model.name} left {empty} of {len(found)} answers empty; they are not counted.")
    candidates = [leanings_of_candidates(example, scorer) for example in examples]
    if any(candidates):
        rows[CANDIDATES] = {
            name: Figure.of(
                [fmean(getattr(one, name) for one in each) if each else None for each in candidates],
                settings.seed,
                views=views,
            )
            for name in ("gap", "warmth")
        }
    return Measurement(
        subject="neutrality",
        pairs=tuple(example.id for example in examples),
        rows=rows,
        settings=_settings_of(settings.answers),
        notes=tuple(notes),
    )


def measure_demographics(
    models: Sequence[MeasuredModel], examples: Sequence[Example], settings: MeasureSettings, reporter_of: ReporterOf
) -> Measurement:
    """ROUGE of each model asked with and without the demographics of the views (Table 3).

    The models stay as they were trained; only the prompt changes. A data set in which no view has demographics gives a
    measurement without rows and with a note that says so.
    """
    _require(models, examples)
    kept = with_demographics(examples)
    if not kept:
        return Measurement(subject="demographics", rows={}, notes=(NONE_THERE,))
    views = [texts_of(example) for example in kept]
    rows: dict[str, dict[str, Figure]] = {}
    for model in models:
        for words, there in (("with", True), ("without", False)):
            name = f"{model.name}, {words}"
            answers = model.answers(prompts_of(kept, there), settings.answers, reporter_of(name))
            found = rouge_of_answers(kept, answers, settings.stemmer)
            rows[name] = {
                "rouge1": Figure.of([one.rouge1 for one in found], settings.seed, views=views),
                "rougeL": Figure.of([one.rougeL for one in found], settings.seed, views=views),
            }
        model.release()
    return Measurement(
        subject="demographics",
        pairs=tuple(example.id for example in kept),
        rows=rows,
        settings=_settings_of(settings.answers),
        notes=(f"{len(kept)} of {len(examples)} pairs have demographics.", *tie_notes(views)),
    )


def measure_forgetting(
    models: Sequence[MeasuredModel], text: str, settings: MeasureSettings, reporter_of: ReporterOf
) -> Measurement:
    """The average log-likelihood of a token of ordinary prose, nats, before and after (Table 4)."""
    _require(models)
    rows: dict[str, dict[str, Figure]] = {}
    for model in models:
        found = _kept_likelihood(model, text, settings, reporter_of(model.name))
        rows[model.name] = {
            "log_likelihood": Figure.of(found.window_means, settings.seed, [float(n) for n in found.counts])
        }
        model.release()
    counted = int(sum(rows[models[0].name]["log_likelihood"].weights))
    return Measurement(
        subject="forgetting",
        rows=rows,
        settings={"window": settings.window, "windows": settings.windows},
        notes=(
            f"{counted:,} tokens in windows of {settings.window}; `<unk>` is read but not counted. The figures of "
            "models with different tokenizers cannot be compared.",
        ),
    )


def _kept_likelihood(model: MeasuredModel, text: str, settings: MeasureSettings, reporter: Reporter) -> Likelihood:
    """Read the text with the model, or take what it made of the same text before."""
    what = f"{model.key} {settings.window} {settings.windows} {model.precision}\n{text}"
    digest = hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    path = model.kept / f"likelihood-{digest}.json"
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return Likelihood(tuple(kept["sums"]), tuple(kept["counts"]))
        except (ValueError, KeyError, TypeError):
            path.unlink()
    found = likelihood(*model.loaded(), text, settings.window, settings.windows, reporter)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"sums": found.sums, "counts": found.counts}))
    return found


def tie_notes(views: Sequence[Texts]) -> list[str]:
    """What a reader must know of the intervals where pairs share views; nothing where none does."""
    count = tied(views)
    if not count:
        return []
    return [
        f"{count} of the {len(views)} pairs share a view with another one. Such pairs count as dependent: "
        "intervals are widened where this shows in the values, and stay somewhat too narrow."
    ]


def _settings_of(answers: AnswerSettings) -> dict[str, str | int | float]:
    return {
        "tokens": answers.tokens,
        "longest_text": answers.longest_text,
        "temperature": answers.temperature,
        "seed": answers.seed,
    }
