"""Forgetting: how likely a model finds ordinary prose, before and after alignment (the paper's Table 4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mediator.errors import InputError
from trainer.evaluate.bootstrap import Interval, interval
from trainer.progress import Reporter, Silent, Stopped

if TYPE_CHECKING:
    import torch

UNKNOWN = "<unk>"
_MOST_LOGITS = 16_000_000


class TooShortError(InputError):
    """A text is too short to say anything about a model."""


@dataclass(frozen=True)
class Likelihood:
    """What a model makes of a text, window by window.

    Attributes:
        sums: for each window the sum of its tokens' log-probabilities, in nats.
        counts: for each window how many tokens were counted.
    """

    sums: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The average log-likelihood of a token, in nats; the negative logarithm of the perplexity."""
        return sum(self.sums) / sum(self.counts)

    @property
    def window_means(self) -> list[float]:
        """The average of each window, in nats for each token."""
        return [total / count for total, count in zip(self.sums, self.counts, strict=True)]

    def interval(self, seed: int = 0) -> Interval:
        """The 95 % interval of `mean`, by drawing windows anew."""
        return interval(self.window_means, seed, self.counts)


def prose_of(wikitext: str) -> str:
    """Undo WikiText's spacing: ``a guest @-@ starring role , he said`` becomes ``a guest-starring role, he said``.

    Models have read prose, not tokens with spaces around them. ``<unk>`` stays: `likelihood` does not count it.
    """
    text = re.sub(r" @([-,.])@ ", r"\1", wikitext)
    text = re.sub(r" ([.,;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[$£]) ", r"\1", text)
    text = re.sub(r" (n't|'s|'re|'ve|'ll|'d|'m)\b", r"\1", text)
    text = re.sub(r'" ([^"\n]*?) ?"', r'"\1"', text)
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", text)
    return re.sub(r"\n{2,}", "\n", text).strip()


def log_likelihood(model: Any, tokenizer: Any, text: str, window: int = 512) -> float:
    """Return the average log-likelihood of a token of the whole text, in nats; see `likelihood`."""
    return likelihood(model, tokenizer, text, window).mean


def likelihood(
    model: Any,
    tokenizer: Any,
    text: str,
    window: int = 512,
    windows: int = 0,
    reporter: Reporter | None = None,
) -> Likelihood:
    """Read a text in windows that do not overlap and return how likely the model finds its tokens.

    Each window begins with the model's begin-of-text token where it has one; the first token of a window without it is
    not counted, because nothing precedes it. Tokens of ``<unk>``, which WikiText puts in the place of rare words, are
    read but not counted: what they hide is not what the model learned to expect.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, a fast one.
        text: any length.
        window: tokens in one window, the begin-of-text token included.
        windows: the most windows to read, evenly spaced over the text; 0 for all of it.
        reporter: hears of progress, and may stop the work (`Stopped`).

    Raises:
        TooShortError: the text is shorter than two tokens.
    """
    return likelihood_of(model, rows_of(tokenizer, text, window, windows), reporter)


class Row(NamedTuple):
    """Tokens of one window, and which of them count."""

    tokens: list[int]
    counted: list[bool]


def likelihood_of(model: Any, rows: Sequence[Row], reporter: Reporter | None = None) -> Likelihood:
    """Return how likely a model finds the tokens of windows; see `likelihood`. Raises `TooShortError`, `Stopped`."""
    import torch

    from trainer.models.likelihood import response_log_probabilities

    reporter = reporter or Silent()
    window = max((len(row.tokens) for row in rows), default=1)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    together = max(1, _MOST_LOGITS // (vocabulary * window))
    sums: list[float] = []
    counts: list[int] = []
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(rows), together):
            reporter.phase("measuring", start, len(rows))
            if reporter.should_stop():
                raise Stopped
            tokens, counted = _padded(rows[start : start + together], model.device)
            with torch.inference_mode():
                # Padding stands on the right of causal attention: no counted token can see it, so no mask is needed.
                found, numbers = response_log_probabilities(model(input_ids=tokens).logits, tokens, counted)
            sums += [float(value) for value in found]
            counts += [int(number) for number in numbers]
    finally:
        model.train(was_training)
    reporter.phase("measuring", len(rows), len(rows))
    kept = [(total, count) for total, count in zip(sums, counts, strict=True) if count]
    if not kept:
        raise TooShortError("The text is too short: there is no token to predict.", "Give at least a sentence.")
    return Likelihood(tuple(total for total, _ in kept), tuple(count for _, count in kept))


def rows_of(tokenizer: Any, text: str, window: int, windows: int = 0) -> list[Row]:
    """Cut a text into windows of ``window`` tokens; of many, take ``windows`` evenly spaced ones. See `likelihood`."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    gaps = [(match.start(), match.end()) for match in re.finditer(re.escape(UNKNOWN), text)]
    tokens, counted, gap = list(encoded["input_ids"]), [], 0
    for start, end in encoded["offset_mapping"]:
        while gap < len(gaps) and gaps[gap][1] <= start:
            gap += 1
        counted.append(not (gap < len(gaps) and start < gaps[gap][1] and end > gaps[gap][0]))
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    step = window - len(begin)
    rows = [
        Row(begin + tokens[at : at + step], [False] * len(begin) + counted[at : at + step])
        for at in range(0, len(tokens), step)
    ]
    return [rows[int(place * len(rows) / windows)] for place in range(windows)] if 0 < windows < len(rows) else rows


def _padded(rows: Sequence[Row], device: Any) -> "tuple[torch.Tensor, torch.Tensor]":
    """Tokens (B, T) and which of them count (B, T), filled up on the right."""
    import torch

    longest = max(len(row.tokens) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    counted = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row.tokens)] = torch.tensor(row.tokens)
        counted[number, : len(row.tokens)] = torch.tensor(row.counted)
    return tokens.to(device), counted.to(device)


def read_prose(path: Path) -> str:
    """Read WikiText (or any prose) from a file and undo its spacing. Raises `TooShortError` for no file, or no text."""
    try:
        text = prose_of(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise TooShortError(f"{path} cannot be read: {error.strerror or error}.", "Check its name.") from error
    if not text:
        raise TooShortError(f"{path} is empty.", "Give WikiText-2's test.txt.")
    return text
