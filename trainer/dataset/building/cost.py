"""What a build will ask of a remote model: requests, tokens, and dollars where the price is known."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mediator import prompts
from mediator.errors import InputError
from mediator.mediation import MediationOptions
from mediator.resources import asset, read_yaml
from mediator.schema import Candidate, Scores, Strategy
from mediator.strategies import strategies_of
from mediator.writers.base import Brief, Prompt
from mediator.writers.language_model import TOKENS_FOR_REASONING, TOKENS_PER_CANDIDATE
from mediator.writers.remote import estimated_tokens
from trainer.dataset.data import Example

_SAMPLE = 40
"""Disputes whose prompts are counted; the others are taken to be like them."""

_CANDIDATE = " ".join(["A sentence of a compromise has about as many words as this one."] * 5)
"""Stands for a candidate in the feedback of later rounds: the prompts ask for two to four sentences."""

_WRITTEN = 100
"""Tokens of one candidate, about."""

_REASONED = 350
"""Tokens that a strategy with a heading writes before its candidates, about."""

_THOUGHT = 800
"""Tokens that a model of Claude's thinks before it answers, about; they are paid for like what it writes."""

_MOST_THOUGHT = 8192
"""Tokens that it is allowed to."""


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens.

    Attributes:
        input: of what the model reads.
        output: of what it writes and thinks.
        source: where the price is from, in words.
    """

    input: float
    output: float
    source: str


@dataclass(frozen=True)
class Estimate:
    """What is asked of the model.

    Attributes:
        requests: how many; rounds of feedback that end early make fewer.
        input_tokens: that it reads.
        output_tokens: that it will write, about.
        most_output_tokens: that it is allowed to write.
        price: None where it is not known.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    most_output_tokens: int
    price: Price | None

    @property
    def dollars(self) -> float | None:
        """About what it costs; None where the price is not known."""
        return self._cost(self.output_tokens)

    @property
    def most_dollars(self) -> float | None:
        """What it costs if every answer is as long as it may be; None where the price is not known."""
        return self._cost(self.most_output_tokens)

    def _cost(self, output: int) -> float | None:
        if self.price is None:
            return None
        return (self.input_tokens * self.price.input + output * self.price.output) / 1e6


def price_of(model: str, given: tuple[float | None, float | None], batch: bool) -> Price | None:
    """Return the price of a model: as given on the command line, else by the table; None where neither knows it.

    Args:
        model: a name such as ``claude-sonnet-5-5``; a date at its end does not matter.
        given: dollars for a million tokens of input and of output; both or none. They are taken as they are.
        batch: whether the discount of the Message Batches API is taken off the price of the table.

    Raises `InputError` when only one of the two is given, or one is negative.
    """
    price_in, price_out = given
    if (price_in is None) != (price_out is None):
        raise InputError("Only one of --price-input and --price-output is given.", "Give both.")
    if price_in is not None and price_out is not None:
        if min(price_in, price_out) < 0:
            raise InputError("A price is negative.", "Give dollars for a million tokens.")
        return Price(price_in, price_out, "as you gave them")
    table = read_yaml(asset("prices.yaml"))
    listed = table["models"].get(re.sub(r"-\d{8}$", "", model))
    if listed is None:
        return None
    share = 1.0 - float(table["batch_discount"]) if batch else 1.0
    source = f"list prices of {table['as_of']}" + (", less the discount for batches" if batch else "")
    return Price(listed["input"] * share, listed["output"] * share, source)


def estimate(examples: Sequence[Example], options: MediationOptions, thinks: bool, price: Price | None) -> Estimate:
    """Work out what a build of these disputes asks of the model, every round of feedback counted.

    Tokens are guessed from the bytes of the prompts, of `_SAMPLE` disputes spread over all; caches of the provider,
    which make repeated parts of a prompt cheaper, are not taken into account.

    Args:
        examples: the disputes; at least one.
        options: how they are drafted.
        thinks: whether the model thinks before it answers, as Claude does.
        price: as from `price_of`.
    """
    step = max(1, len(examples) // _SAMPLE)
    sample = examples[::step]
    requests = read = written = most = 0
    for example in sample:
        for strategy, prompt in _prompts(example, options):
            marked = strategy in prompts.STRATEGIES_WITH_MARKER
            room = TOKENS_PER_CANDIDATE * options.count * (2 if marked else 1)
            requests += 1
            read += estimated_tokens(prompt)
            written += _WRITTEN * options.count + _REASONED * marked + _THOUGHT * thinks
            most += max(2048, room + TOKENS_FOR_REASONING * marked) + _MOST_THOUGHT * thinks
    scale = len(examples) / len(sample)
    return Estimate(round(requests * scale), round(read * scale), round(written * scale), round(most * scale), price)


def _prompts(example: Example, options: MediationOptions) -> Iterator[tuple[Strategy, Prompt]]:
    """Yield what the strategies ask, with stand-ins for the candidates of earlier rounds."""
    for strategy in strategies_of(options.strategy):
        scores = Scores(score_a=0.5, score_b=0.5, raw_a=0.5, raw_b=0.5)
        one = Candidate(text=_CANDIDATE, strategy=strategy, scores=scores)
        for number in range(options.rounds if strategy is Strategy.COT_FEEDBACK else 1):
            yield (
                strategy,
                prompts.build(
                    Brief(
                        dispute=example,
                        strategy=strategy,
                        count=options.count,
                        earlier=(one,) * (options.count * number),
                    )
                ),
            )


def cost_words(found: Estimate, model: str) -> str:
    """Say what a build asks and costs, in three sentences at most."""
    tokens = f"{_millions(found.input_tokens)} tokens to read and about {_millions(found.output_tokens)} to write"
    asked = f"About {found.requests:,} requests to {model}: {tokens}."
    price, dollars, most = found.price, found.dollars, found.most_dollars
    if price is None or dollars is None or most is None:
        return (
            f"{asked} What that costs is not known: there is no price for this model. "
            "With --price-input and --price-output (dollars for a million tokens) it can be worked out."
        )
    per = f"${price.input:g} and ${price.output:g} for a million tokens, {price.source}"
    return f"{asked} That is about ${dollars:,.2f} ({per}); ${most:,.2f} if every answer is as long as it may be."


def _millions(tokens: int) -> str:
    return f"{tokens / 1e6:,.1f} million" if tokens >= 1e6 else f"{tokens:,}"
