"""The writer on a model that trainer/ trained: it knows one template and gives one compromise, so it is asked n times.

Such a model was never shown the prompts of the strategies, nor a list of proposals, a comment or a score. Asked for
four numbered compromises it answers with one, or with anything. So every strategy asks it by the template that it was
trained on, once for each candidate: the first answer is the likeliest one, the others are drawn. The prompt is the same
each time, and the models keep what they have read of it.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mediator.alignment_prompt import PROMPT_NAME, prompt_of
from mediator.cancellation import Cancellation
from mediator.errors import ModelFileError
from mediator.writers.base import Brief, Delta, LanguageModel, Message, Prompt, Sampling, UnusableOutput
from mediator.writers.language_model import TOKENS_PER_CANDIDATE, texts_of

STORY_FILE = "evenhand.json"
"""In the folder of a trained model or adapter: how it was trained. A GGUF file has the same under ``evenhand.*``."""

_RECIPES = ("sft", "nce", "task", "dpo", "nca")  # whose results named no template at first: there was only one
_MOST_DRAWS = 4  # answers for one candidate: what repeats itself so often has nothing else to say
_LARGEST_STORY = 1 << 20  # bytes


@dataclass(frozen=True)
class Alignment:
    """How a trained model is to be asked.

    Attributes:
        demographics: whether it was trained with what is known about the authors of the views.
        starts_with_bos: whether its texts began with the start-of-text token; None where its files do not say.
        recipe: what it was trained by, such as ``nce``; may be empty.
    """

    demographics: bool = True
    starts_with_bos: bool | None = None
    recipe: str = ""


def alignment_of(story: Mapping[str, Any], source: str) -> Alignment | None:
    """Return how a model is to be asked by what its files tell of its training; None for one that is no result of ours.

    Args:
        story: the content of `STORY_FILE`, or the ``evenhand.*`` keys of a GGUF file without that beginning.
        source: the model's name, for the message.

    Raises `ModelFileError` for a template that this version does not have.
    """
    name = story.get("prompt", PROMPT_NAME if story.get("recipe") in _RECIPES else None)
    if name is None:
        return None
    if name != PROMPT_NAME:
        raise ModelFileError(
            f"{source} was trained on the template {str(name)[:40]!r}, which this version does not have.",
            "A newer Evenhand may have it: pip install -U evenhand.",
        )
    settings = story.get("settings")
    otherwise = settings.get("demographics", True) if isinstance(settings, Mapping) else True
    begins = story.get("starts_with_bos")
    return Alignment(
        demographics=bool(story.get("demographics", otherwise)),
        starts_with_bos=begins if isinstance(begins, bool) else None,
        recipe=str(story.get("recipe", "")),
    )


def alignment_of_folder(folder: Path) -> Alignment | None:
    """Return how the model or adapter in a folder is to be asked; None for one that is no result of ours.

    Raises `ModelFileError` where its `STORY_FILE` is damaged, or names a template that this version does not have.
    """
    path = folder / STORY_FILE
    try:
        with path.open("rb") as file:
            story = json.loads(file.read(_LARGEST_STORY))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{path} cannot be read, and it says how to ask this model: {getattr(error, 'strerror', None) or error}.",
            "Copy the model's folder again.",
        ) from error
    return alignment_of(story, str(folder)) if isinstance(story, dict) else None


def alignment_of_metadata(metadata: Mapping[str, Any], source: str) -> Alignment | None:
    """Return how the model of a GGUF file is to be asked. Raises `ModelFileError`; see `alignment_of`."""
    story = {name.removeprefix("evenhand."): value for name, value in metadata.items() if name.startswith("evenhand.")}
    return alignment_of(story, source)


class AlignedWriter:
    """Writes candidates with a model that was trained for just that.

    Of a brief it uses the two views, the count and the seed. Comments, scores, and texts to stay close to are lost on
    such a model; texts that are there already, or were dropped, are not written again.

    Args:
        model: gets `Prompt.plain` prompts. The writer owns it: `close` closes it.
        alignment: how it was trained.
        sampling: how all but the first answer are drawn; the seeds come from the brief.
        longest: tokens of an answer.
    """

    def __init__(
        self,
        model: LanguageModel,
        alignment: Alignment,
        sampling: Sampling | None = None,
        longest: int = TOKENS_PER_CANDIDATE,
    ) -> None:
        self.name = model.name
        self.destination = model.destination
        self.alignment = alignment
        self._model = model
        self._sampling = replace(sampling or Sampling(), max_tokens=longest)

    @property
    def model(self) -> LanguageModel:
        """The model that writes; it is closed with this writer."""
        return self._model

    def write(self, brief: Brief, cancel: Cancellation) -> Generator[Delta, None, None]:
        """Stream the candidates of a brief, one answer each.

        An answer that says what is there already is drawn anew, at most `_MOST_DRAWS` times; it is noticed while it
        still comes, so nothing of it is streamed. After that, fewer candidates come; in a later round, perhaps none.

        Raises:
            UnusableOutput: all answers to a first brief are empty, or copies of a view.
            WriterError: what the model raises.
            Cancelled: soon after ``cancel`` is cancelled.
        """
        text = prompt_of(brief.dispute, self.alignment.demographics)
        prompt = Prompt("", (Message("user", text),), plain=True)
        before = [*(candidate.text for candidate in brief.earlier), *brief.like, *brief.avoid]
        known = {_plain(one) for one in (*texts_of(brief.dispute), *before)}
        for index in range(brief.count):
            for draw in range(_MOST_DRAWS):
                likeliest = index == draw == 0 and not before
                sampling = replace(
                    self._sampling,
                    temperature=0.0 if likeliest else self._sampling.temperature,
                    seed=_seed(brief, index, draw),
                )
                written = yield from self._answer(prompt, sampling, index, known, cancel)
                if written:
                    known.add(written)
                    break
            else:
                if index == 0 and not before:
                    raise UnusableOutput(
                        f"{self.name} wrote nothing, or only repeated a view.",
                        "Try other views, or a model that was trained for longer.",
                    )
                return

    def close(self) -> None:
        """Close the model. Safe to call twice."""
        self._model.close()

    def _answer(
        self, prompt: Prompt, sampling: Sampling, index: int, known: set[str], cancel: Cancellation
    ) -> Generator[Delta, None, str]:
        """Stream one answer as one candidate; return its text, or nothing where it is empty or known."""
        text, shown = "", 0
        pieces = self._model.stream(prompt, sampling, cancel)
        try:
            for piece in pieces:
                cancel.raise_if_cancelled()
                text += piece
                so_far = _plain(text)
                if not any(one.startswith(so_far) for one in known):
                    yield Delta(index, text[shown:])
                    shown = len(text)
        finally:
            # A consumer that walks away must end the model's work too, now and not when memory is collected.
            if isinstance(pieces, Generator):
                pieces.close()
        cancel.raise_if_cancelled()
        written = _plain(text)
        if not written or written in known:
            return ""
        yield Delta(index, text[shown:], done=True)
        return written


def _plain(text: str) -> str:
    """A text as it is compared: every run of blanks is one."""
    return " ".join(text.split())


def _seed(brief: Brief, index: int, draw: int) -> int:
    """A seed of its own for each answer: of another strategy, after other rounds, for another candidate, drawn anew."""
    what = f"{brief.seed}:{brief.strategy}:{len(brief.earlier)}:{index}:{draw}"
    return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=7).digest(), "big")
