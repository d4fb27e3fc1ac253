"""How widely acceptable a statement like this tends to be: a small head over the encoder's vectors, without torch.

The head was fitted to votes on statements of public conversations (`trainer.preference`, docs/preference.md). It
predicts which share of the people who took a stand would agree. It reads one statement by itself: it knows neither the
two sides nor the place, and says nothing about whether the two of them would accept it.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mediator.empathy import EmpathyModel
from mediator.encoders import Matrix
from mediator.errors import ModelFileError
from mediator.language import is_english
from mediator.resources import asset
from mediator.settings import user_path

BUNDLED = "preference-head.json"
"""In assets/models; its card says what it is worth on statements of hosts that it had not seen."""

HEAD_FILE = "head.json"
"""In the folder of a trained preference model."""

FORMAT = "evenhand-preference-head"

AGREE = 0
"""The place of agreeing among the answers; disagreeing follows, then passing where it counts."""


Kind = Literal["less", "usual", "more"]

LOW, HIGH = 0.2, 0.8
"""Parts of the known statements: below the first a text is called less widely acceptable, above the second more."""


@dataclass(frozen=True)
class Acceptance:
    """A head: linear layers with tanh between them, softmax at the end.

    Attributes:
        layers: weights (inputs, outputs) and biases (outputs,), in their order.
        answers: ``agree``, ``disagree`` and perhaps ``pass``.
        encoder: the fingerprint of the encoder whose vectors it reads.
        quantiles: (101,) the predicted shares of statements that it had not seen, by percent, rising; empty where they
            were not measured.
        measured: what it was found to be worth on conversations that it had not seen.
    """

    layers: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    answers: tuple[str, ...]
    encoder: str
    quantiles: NDArray[np.float64]
    measured: dict[str, Any]

    @classmethod
    def load(cls, model: str | Path = "", encoder: str = "") -> "Acceptance":
        """Read a head.

        Args:
            model: the folder of a trained preference model, or its file; empty for the bundled one.
            encoder: the fingerprint of the encoder whose vectors it will read; empty checks nothing.

        Raises:
            ModelFileError: the file is missing, damaged, or of another encoder.
        """
        path = user_path(str(model)) if str(model) else asset("models", BUNDLED)
        head = _read(path / HEAD_FILE if path.is_dir() else path)
        if encoder and head.encoder != encoder:
            raise ModelFileError(
                f"The preference model {path.name} reads the vectors of another encoder ({head.encoder}) than the one "
                f"in use ({encoder}).",
                "Train it again with: evenhand train preference --set encoder=...",
            )
        return head

    def probabilities(self, vectors: Matrix | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (B, C) probabilities of the answers for unit vectors of texts (B, dimensions)."""
        state = np.asarray(vectors, dtype=np.float64)
        for place, (weight, bias) in enumerate(self.layers):
            state = (np.tanh(state) if place else state) @ weight + bias
        raised = np.exp(state - state.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
        return found

    def shares(self, vectors: Matrix | NDArray[np.float64]) -> list[float]:
        """Return, for unit vectors (B, dimensions), the share of those taking a stand who would agree, 0..1."""
        found = self.probabilities(vectors)
        return [float(row[AGREE] / (row[AGREE] + row[AGREE + 1])) for row in found]

    def kind(self, share: float) -> Kind:
        """Say, as data for the page to put into words, where a share stands among those of known statements.

        Three coarse steps: predicted and true shares correlate by less than a third, so more would pretend. ``usual``
        also where nothing is known.
        """
        rank = self.rank(share)
        if rank is None or LOW <= rank <= HIGH:
            return "usual"
        return "less" if rank < LOW else "more"

    def rank(self, share: float) -> float | None:
        """Return the part of the known statements that are predicted to be less accepted, 0..1; None if unknown."""
        if not self.quantiles.size:
            return None
        return float(np.interp(share, self.quantiles, np.linspace(0, 1, self.quantiles.size)))


@lru_cache(maxsize=1)
def bundled(encoder: str) -> Acceptance | None:
    """Return the bundled head, or None where none is shipped or it reads another encoder's vectors."""
    if not asset("models", BUNDLED).is_file():
        return None
    head = Acceptance.load()
    return head if head.encoder == encoder else None


def reading(scorer: EmpathyModel, text: str) -> Kind | None:
    """Return how widely acceptable a text is, for a card; None where no head is shipped for the scorer's encoder,
    and for a text that is not English: the statements that it learned from are.

    The scorer has the text's vector already when it has scored the text.
    """
    head = bundled(scorer.encoder.fingerprint)
    return head.kind(head.shares(scorer.embed([text]))[0]) if head and is_english(text) else None


def _read(path: Path) -> Acceptance:
    damaged = ModelFileError(f"{path} is no preference model, or a damaged one.", "Train it again.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror or error}.", "Name the folder of a trained preference model."
        ) from error
    except ValueError as error:
        raise damaged from error
    try:
        if data["format"] != FORMAT:
            raise damaged
        layers = tuple(
            (np.array(layer["weight"], dtype=np.float64), np.array(layer["bias"], dtype=np.float64))
            for layer in data["layers"]
        )
        head = Acceptance(
            layers=layers,
            answers=tuple(str(answer) for answer in data["answers"]),
            encoder=str(data["encoder"]),
            quantiles=np.array(data.get("quantiles", []), dtype=np.float64),
            measured=dict(data.get("measured", {})),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged from error
    if not _fits(head):
        raise damaged
    return head


def _fits(head: Acceptance) -> bool:
    """Whether each layer takes what the one before gives, the last one gives the answers, and all are numbers."""
    width: int | None = None
    for weight, bias in head.layers:
        if weight.ndim != 2 or bias.shape != weight.shape[1:] or width not in (None, weight.shape[0]):
            return False
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            return False
        width = weight.shape[1]
    rising = head.quantiles.size == 0 or (head.quantiles.size > 1 and bool((np.diff(head.quantiles) >= 0).all()))
    return width == len(head.answers) >= 2 and rising and all(math.isfinite(value) for value in head.quantiles)
