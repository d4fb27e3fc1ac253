"""What a model answers to a test set: written in batches, once for each (model, prompt, settings), and kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mediator.errors import InputError
from mediator.settings import cache_folder, user_path
from trainer.progress import Reporter, Silent

if TYPE_CHECKING:
    from trainer.models.pretrained import Device, Precision


class ModelNameError(InputError):
    """A model to measure is not given as NAME=FOLDER, or two have the same name."""


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are written.

    Attributes:
        tokens: the longest answer.
        temperature: 0 takes the likeliest token each time.
        answers: how many for each prompt.
        seed: of the drawing.
        batch: answers written at once.
        longest_text: tokens of prompt and answer, as in training: prompts are shortened to what training showed.
    """

    tokens: int = 160
    temperature: float = 0.0
    answers: int = 1
    seed: int = 0
    batch: int = 16
    longest_text: int = 512


def answers_folder() -> Path:
    """Where answers are kept: the cache folder, so that deleting it costs time and nothing else."""
    return cache_folder() / "answers"


@dataclass
class MeasuredModel:
    """A model under its name in the tables. It is loaded when it first has something to do.

    Attributes:
        name: as the tables call it.
        source: a folder, or a name on the Hugging Face hub.
        kept: the folder of answers.
        precision: of its weights in memory.
        device: where it computes.
    """

    name: str
    source: str
    kept: Path = field(default_factory=answers_folder)
    precision: "Precision" = "auto"
    device: "Device" = "auto"
    _key: str = field(default="", init=False, repr=False)
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False)

    @property
    def key(self) -> str:
        """A name for its weights: the same weights in two folders share their answers. Raises `ModelFileError`."""
        if not self._key:
            from trainer.models.pretrained import check_folder
            from trainer.trunk.cache import model_key

            check_folder(self.source)
            folder = user_path(self.source)
            self._key = model_key(folder if folder.is_dir() else self.loaded()[0])
        return self._key

    def loaded(self) -> tuple[Any, Any]:
        """The model and its tokenizer. Raises `ModelFileError`, `MissingExtraError`."""
        if self._loaded is None:
            from trainer.models.pretrained import load

            self._loaded = load(self.source, self.precision, self.device)
        return self._loaded

    def release(self) -> None:
        """Free its memory; it is loaded again when needed."""
        self._loaded = None

    def answers(
        self, prompts: Sequence[str], settings: AnswerSettings, reporter: Reporter | None = None
    ) -> list[list[str]]:
        """Return the answers to each prompt; only those that are not kept yet are written.

        Raises:
            ModelFileError: the model cannot be loaded.
            Stopped: the reporter was asked to stop; what is written is kept.
        """
        from trainer.alignment.watching import prompt_room
        from trainer.models.hypotheses import AnswerCache, answer_key, generate

        room = prompt_room(settings.longest_text, settings.tokens)
        key = answer_key(self.key, settings.tokens, settings.temperature, settings.seed, settings.answers, room)
        cache = AnswerCache(self.kept, key)
        known = [cache.get(prompt) for prompt in prompts]
        if all(one is not None for one in known):
            return [one for one in known if one is not None]
        model, tokenizer = self.loaded()
        written: list[list[str]] = generate(
            model,
            tokenizer,
            prompts,
            batch=settings.batch,
            tokens=settings.tokens,
            temperature=settings.temperature,
            seed=settings.seed,
            answers=settings.answers,
            reporter=reporter or Silent(),
            longest=room,
            cache=cache,
            phase="measuring",
        )
        return written


def models_of(named: Sequence[str], **settings: Any) -> list[MeasuredModel]:
    """Read ``NAME=FOLDER`` for each model; the order is kept.

    The first ``=`` ends the name, so that a folder may hold more of them and a name none.

    Raises:
        ModelNameError: a name or a folder is missing, a name holds a ``=``, or is given twice.
    """
    models: list[MeasuredModel] = []
    for text in named:
        name, sign, source = text.partition("=")
        if not sign or not name.strip() or not source.strip():
            raise ModelNameError(f"--model {text!r} names no model.", "Write it as --model SFT=runs/sft/model.")
        _check_division(text, source.strip())
        if any(model.name == name.strip() for model in models):
            raise ModelNameError(f"Two models are called {name.strip()!r}.", "Give each a name of its own.")
        models.append(MeasuredModel(name.strip(), source.strip(), **settings))
    return models


def _check_division(text: str, source: str) -> None:
    """Refuse what the first ``=`` divides in the wrong place: behind it is no folder, but one begins elsewhere."""
    if user_path(source).is_dir():
        return
    if user_path(text).is_dir():
        raise ModelNameError(f"--model {text!r} is a folder and names no model.", f"Write it as --model SFT={text}.")
    rest = source
    while "=" in rest:
        rest = rest.partition("=")[2].strip()
        if rest and user_path(rest).is_dir():
            raise ModelNameError(
                f"--model {text!r}: the name of {rest} holds a `=`, and the first one ends it.",
                "Name it without.",
            )
