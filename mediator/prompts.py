"""What language models are asked: the view template and the four strategies' prompts (texts in assets/prompts)."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from string import Template

from mediator.resources import asset
from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.writers.base import Brief, Message, Prompt

MARKER = "COMPROMISES:"
"""The heading after which, in an answer that thinks first, the candidates come."""

MOST_DROPPED_SHOWN = 12
"""How many of the dropped proposals, the latest, a model is shown: more would crowd out what it is to write."""

LANGUAGES = {"en": "English", "de": "German"}
"""What a model is told the languages of the page are called."""

STRATEGIES_WITH_MARKER = frozenset({Strategy.COT, Strategy.COT_SELF_SCORE, Strategy.COT_FEEDBACK})

# What chat templates use to mark turns: "<|im_start|>", "</s>", "<start_of_turn>", "[INST]", "<<SYS>>". A tokenizer
# that reads such a string inside a view as the control token would let the view speak as the system. A space breaks it,
# and the headings of the Alpaca layout ("### Response:").
_CONTROL = re.compile(
    r"<(?=[|｜/!<a-zA-Z])|(?<=[|｜])>|#(?=##)|\[(?=/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL)\w*\])", re.IGNORECASE
)


def build(brief: Brief, demographics: bool = True) -> Prompt:
    """Turn a brief into a conversation.

    The system text and the first two messages (the views, the summary, a short acknowledgement) depend on the dispute
    and the page's language only, so that a prompt cache serves all strategies and rounds; ``Prompt.shared`` is 2. The
    last message has the earlier candidates, oldest first, what the mediator likes and has dropped, the comments and the
    strategy's task, in this order, so that rounds share what they can.

    Args:
        brief: what is asked for.
        demographics: whether what is known about the authors of the views is shown to the model.
    """
    return Prompt(
        system=Template(_text("system")).substitute(language=_common_language(brief)),
        messages=(
            Message("user", views_text(brief.dispute, demographics)),
            Message("assistant", _text("acknowledgement")),
            Message("user", _task(brief)),
        ),
        shared=2,
    )


def repair(prompt: Prompt, answer: str, count: int) -> Prompt:
    """Ask once more after an answer in which no candidates were found: says what was wrong with its form.

    An answer without any visible character cannot be a turn of the conversation; then the last message is repeated with
    the remark below it.
    """
    if answer.strip():
        extra = (Message("assistant", answer.strip()), Message("user", _fill("repair", count)))
        return Prompt(prompt.system, prompt.messages + extra, prompt.shared)
    last = prompt.messages[-1]
    again = Message(last.role, f"{last.content}\n\n{_fill('repair-empty', count)}")
    return Prompt(prompt.system, (*prompt.messages[:-1], again), prompt.shared)


def views_text(dispute: Dispute, demographics: bool = True) -> str:
    """Render both views by the template, each quoted with the code of this dispute, and the summary where there is one.

    The names of the sides are left out: they say nothing about what somebody wants, and are often real names.
    """
    views = Template(_text("views")).substitute(
        view_a=_quoted_view(dispute.view_a, dispute, demographics),
        view_b=_quoted_view(dispute.view_b, dispute, demographics),
    )
    if not dispute.summary:
        return views
    return f"{views}\n\n{Template(_text('summary')).substitute(summary=quote(dispute.summary, fence_code(dispute)))}"


def quote(text: str, code: str) -> str:
    """Fence a text as material. No line of the text can close the fence; control tokens of chat templates are broken.

    Args:
        text: anything at all.
        code: the code to use, unless the text contains it: then another one is derived from it, always the same.
    """
    material = text.replace("\r\n", "\n").replace("\r", "\n")
    material = _CONTROL.sub(lambda match: " >" if match.group() == ">" else match.group() + " ", material)
    while code in material.casefold():
        code = _code(code)
    return f"<<<{code}\n{material}\n{code}>>>"


def fence_code(dispute: Dispute) -> str:
    """Return the code that fences quotations for this dispute: 12 hexadecimal digits that stand in neither view.

    Derived from the content, so that the same dispute always gives the same prompt and caches stay valid.
    """
    views = (dispute.view_a, dispute.view_b)
    everything = "\0".join(view.model_dump_json(exclude={"label"}) for view in views).casefold()
    code = _code(everything)
    while code in everything:
        code = _code(code)
    return code


def closeness_words(scores: Scores) -> str:
    """Say to a model how a candidate was measured, e.g. "closeness to A 0.62, to B 0.41; further from B"."""
    further = "equally close" if round(scores.gap, 2) == 0 else f"further from {'B' if scores.tilt > 0 else 'A'}"
    return f"closeness to A {scores.score_a:.2f}, to B {scores.score_b:.2f}; {further}"


def _common_language(brief: Brief) -> str:
    """Name the language for views in two languages: one that is neither side's own choice."""
    if brief.dispute.summary:
        return "the language of the summary"
    return LANGUAGES.get(brief.language, LANGUAGES["en"])


def _task(brief: Brief) -> str:
    """Render the last message: earlier candidates, what is liked and dropped, comments, and what to do."""
    code = fence_code(brief.dispute)
    parts = []
    name = brief.strategy.value
    measured = brief.strategy is Strategy.COT_FEEDBACK and any(map(_is_measured, brief.earlier))
    if brief.strategy is Strategy.COT_FEEDBACK and not measured:
        # The usual task asks for the closest and for the further side, which nobody can name without figures.
        name = "cot-feedback-unmeasured" if brief.earlier else "cot-feedback-first"
    if brief.earlier:
        heading = Template(_text("measured" if measured else "earlier"))
        parts.append(heading.substitute(earlier=_earlier(brief.earlier, code, measured)))
    for name_of_part, texts in (("like", brief.like), ("avoid", brief.avoid[-MOST_DROPPED_SHOWN:])):
        if texts:
            quoted = "\n\n".join(quote(text, code) for text in texts)
            parts.append(Template(_text(name_of_part)).substitute(proposals=quoted))
    if brief.comments:
        remarks = "\n\n".join(quote(comment, code) for comment in brief.comments)
        parts.append(Template(_text("comments")).substitute(comments=remarks))
    return "\n\n".join((*parts, _fill(name, brief.count)))


def _is_measured(candidate: Candidate) -> bool:
    return candidate.scores is not None and candidate.scores.measured


def _earlier(candidates: Sequence[Candidate], code: str, with_scores: bool) -> str:
    """Quote the candidates, each under a line with its number and, where wanted and known, its scores."""
    blocks = []
    for number, candidate in enumerate(candidates, start=1):
        scores = candidate.scores
        measured = f" ({closeness_words(scores)})" if with_scores and scores and _is_measured(candidate) else ""
        blocks.append(f"Proposal {number}{measured}\n{quote(candidate.text, code)}")
    return "\n\n".join(blocks)


def _quoted_view(view: View, dispute: Dispute, demographics: bool) -> str:
    """Quote one view: its fields by name, or its text."""
    lines = (
        ("Place", view.place),
        ("Reason", view.reason),
        ("Suggestion", view.suggestion),
        ("", view.text),
    )
    rendered = [f"{name}: {value}" if name else value for name, value in lines if value]
    if demographics and view.demographics:
        about = ", ".join(f"{key}: {value}" for key, value in view.demographics.items())
        rendered.append(f"About the author: {about}")
    return quote("\n".join(rendered), fence_code(dispute))


def _fill(name: str, count: int) -> str:
    """Fill one of the task texts for a number of candidates."""
    several = count > 1
    return Template(_text(name)).substitute(
        compromises=f"{count} different compromises" if several else "one compromise",
        improved_compromises=f"{count} improved compromises" if several else "one improved compromise",
        new_compromises=f"{count} new compromises" if several else "one new compromise",
        numbered=f"{count} numbered compromises" if several else "compromise, numbered 1,",
        form="\n".join(f"{number}. (one paragraph)" for number in range(1, count + 1)),
    )


def _code(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@cache
def _text(name: str) -> str:
    """Read one of the prompt files, without the newline at its end."""
    return asset("prompts", f"{name}.txt").read_text(encoding="utf-8").strip()
