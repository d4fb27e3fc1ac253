"""What a model in training reads: the tokens of the template with the response marked, and packed rows of them.

The template itself, by which a trained model is asked too, is in `mediator.alignment_prompt`.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mediator.alignment_prompt import material
from mediator.alignment_prompt import prompt_of as prompt_of  # whoever trains has it from here
from trainer.dataset.data import DatasetError

NO_LABEL = -100
"""The label of a token that is not learned: what torch's cross-entropy leaves out."""

_RESPONSE_SHARE = 0.5
"""The share of the tokens that a long response gets before it is cut; shorter ones leave the rest to the views."""

_VIEWS = re.compile(r"(.*### Input:\nView A\n)(.*)(\n\nView B\n)(.*)(\n\n### Response:\n)", re.DOTALL)


class Encoded(NamedTuple):
    """The tokens of one example.

    Attributes:
        tokens: prompt, response and end-of-text.
        response_start: place of the response's first token; from there on all is response, end-of-text included.
    """

    tokens: list[int]
    response_start: int


class Row(NamedTuple):
    """One row of a training batch: one example, or several packed into it. All three have the same length.

    Attributes:
        tokens: what is read.
        labels: the same tokens where a response is, `NO_LABEL` elsewhere. Not shifted: the model does that.
        positions: 0, 1, 2, ... from the start of each example. Where they restart, the models of transformers cut the
            attention, if they are given no attention mask and ``use_cache=False``.
    """

    tokens: list[int]
    labels: list[int]
    positions: list[int]


def prompt_tokens(tokenizer: Any, prompt: str, longest: int) -> list[int]:
    """Return the tokens of a prompt, with the start-of-text token where the tokenizer has one; at most ``longest``.

    What is too long loses the beginnings of the two views, the longer one first: a view ends with its suggestion, which
    is what the compromise is about. The instruction and the heading of the response stay.

    Raises `DatasetError` when not even these fit.
    """
    tokens = _starting(tokenizer, prompt)
    if len(tokens) <= longest:
        return tokens
    found = _VIEWS.fullmatch(prompt)
    if found is None:  # not from the template: the middle goes
        half = longest // 2
        return tokens[:half] + tokens[len(tokens) - (longest - half) :]
    head, between, tail = _starting(tokenizer, found[1]), _plain(tokenizer, found[3]), _plain(tokenizer, found[5])
    room = longest - len(head) - len(between) - len(tail)
    if room < 2:
        raise DatasetError(
            f"The template takes {longest - room} tokens, and there is room for {longest}.", "Raise longest_text."
        )
    view_a, view_b = _plain(tokenizer, found[2]), _plain(tokenizer, found[4])
    for_a = max(min(len(view_a), room // 2), room - len(view_b))
    return [*head, *view_a[-for_a:], *between, *view_b[-(room - for_a) :], *tail]


def encode(tokenizer: Any, prompt: str, response: str, longest: int) -> Encoded:
    """Return the tokens of an example for training, at most ``longest``.

    Prompt and response are tokenised each for itself, so that the model learns to go on from the very tokens that it is
    given when it writes. What is too long loses parts of the views first (see `prompt_tokens`); a response longer than
    half of ``longest`` then loses its end.

    Args:
        tokenizer: of transformers; it must have an end-of-text token.
        prompt: as from `prompt_of`.
        response: the text to learn; stripped.
        longest: tokens in all.

    Raises:
        DatasetError: nothing of the response is left, because it is empty or the template alone fills ``longest``; or
            the tokenizer has no end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise DatasetError("The tokenizer has no end-of-text token.", "Set eos_token in its configuration.")
    written = _plain(tokenizer, material(response.strip()))
    if not written:
        raise DatasetError("A response is empty: there is nothing to learn.", "Leave the candidate out.")
    end = [*written, int(tokenizer.eos_token_id)]
    asked = prompt_tokens(tokenizer, prompt, max(longest - len(end), longest - int(longest * _RESPONSE_SHARE)))
    left = longest - len(asked)
    if left < 1:
        raise DatasetError(f"Nothing of a response is left within {longest} tokens.", "Raise longest_text.")
    return Encoded(asked + end[:left], len(asked))


def row_of(encoded: Encoded) -> Row:
    """Return one example as a row of its own."""
    tokens, start = encoded
    first = max(start, 1)  # the very first token has nothing to be predicted from
    labels = [NO_LABEL] * min(first, len(tokens)) + tokens[first:]
    return Row(list(tokens), labels, list(range(len(tokens))))


def pack(encoded: Sequence[Encoded], longest: int) -> list[Row]:
    """Put several examples into each row of at most ``longest`` tokens, without a token between them.

    First fit in the order given, so that the same examples always make the same rows. An example's first token is never
    learned: it would be predicted from the example before.

    Raises `DatasetError` for an example that is longer than a row.
    """
    rows: list[Row] = []
    open_rows: list[Row] = []  # of those made last: looking through all would take long for a large data set
    for example in encoded:
        one = row_of(example)
        if len(one.tokens) > longest:
            raise DatasetError(
                f"An example has {len(one.tokens)} tokens, and a row holds {longest}.", "Encode it shorter."
            )
        row = next((row for row in open_rows if len(row.tokens) + len(one.tokens) <= longest), None)
        if row is None:
            row = Row([], [], [])
            rows.append(row)
            open_rows = [*open_rows[-_OPEN_ROWS + 1 :], row]
        for part, added in zip(row, one, strict=True):
            part.extend(added)
    return rows


_OPEN_ROWS = 64


def _starting(tokenizer: Any, text: str) -> list[int]:
    """Tokenise the beginning of a text: with the start-of-text token, without an end that some tokenizers add."""
    tokens = _plain(tokenizer, text)
    start = tokenizer.bos_token_id
    return tokens if start is None else [int(start), *tokens]


def _plain(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
