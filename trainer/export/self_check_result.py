"""What came out of a self-check: the figures, and whether they are within the limits."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mediator.schema import Record
from trainer.export.quantise import Kind
from trainer.export.self_check_limits import EXACT_LIMITS, LIMITS, Limits
from trainer.export.self_check_texts import EXACT, EXPECTED, FOUND, Texts, shipped_prose
from trainer.export.worker import Message

_SHOWN_TOKENS = 8
_BLOCK = 64  # positions that are compared at once


class TokenDifference(Record):
    """A string that llama.cpp reads as other tokens than the checkpoint's tokenizer.

    Attributes:
        text: the string.
        place: the number of the first token that differs, from 0.
        expected: the checkpoint's tokens from there, at most eight.
        found: llama.cpp's.
    """

    text: str
    place: int
    expected: tuple[int, ...]
    found: tuple[int, ...]


class Finding(Record):
    """One line of the table: what was looked at, what was found, what is allowed, and whether that is kept.

    Attributes:
        what: ``tokens``, ``numbers``, ``before`` (of the file that was quantised), ``logits``, ``top1``,
            ``perplexity`` or ``cosine``.
        found: in words.
        limit: in words; empty where there is none.
        passed: None where it was left out, or where any figure is allowed.
    """

    what: str
    found: str
    limit: str = ""
    passed: bool | None = None


class SelfCheck(Record):
    """What came out.

    Attributes:
        kind: how the file is quantised.
        strings: how many strings both tokenizers read.
        tokens_equal: how many of them they read the same.
        differences: the strings that they read differently.
        finite: whether every number that llama.cpp computed is one; None when it could not compute.
        positions: tokens after which logits were compared, or sentences whose vectors were.
        largest_logit_difference: of decoders, as it is (the unit of logits is the nat).
        logit_spread: the standard deviation of the checkpoint's logits over the vocabulary, on average: what a
            difference has to be compared with.
        difference_before: the largest difference of a logit in the file before it was quantised; None for a kind that
            is written at once. This, not the difference after it, shows whether llama.cpp computes the same network.
        top1_agreement: the share (0..1) of positions at which both find the same token most likely.
        perplexity: of the file, on ``perplexity_tokens`` tokens of ``perplexity_text``; None where it was left out.
        perplexity_of_checkpoint: of the checkpoint, on the same tokens.
        ratio: of the two; 1 when nothing was lost.
        smallest_cosine: of encoders, of the two vectors of a text.
        reference: what the checkpoint was computed in: ``fp32``, ``bf16``, or empty when it was not computed.
        findings: all of it as lines of a table.
        left_out: sentences on what was not checked, and why.
        why: sentences on why it did not pass; empty when it did.
        passed: whether the file may be used.
    """

    kind: Kind
    strings: int = 0
    tokens_equal: int = 0
    differences: tuple[TokenDifference, ...] = ()
    finite: bool | None = None
    positions: int = 0
    largest_logit_difference: float | None = None
    logit_spread: float | None = None
    difference_before: float | None = None
    top1_agreement: float | None = None
    perplexity: float | None = None
    perplexity_of_checkpoint: float | None = None
    perplexity_tokens: int = 0
    perplexity_text: str = ""
    ratio: float | None = None
    smallest_cosine: float | None = None
    reference: str = ""
    findings: tuple[Finding, ...] = ()
    left_out: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    passed: bool = False


def unable(kind: Kind, why: str) -> SelfCheck:
    """A check that came to nothing, which is a failed one."""
    return SelfCheck(kind=kind, why=(why,))


def judged(request: Message, left_out: str, expected: Message, found: Message) -> SelfCheck:
    """Compare what the two sides left in the request's folder and said, and judge it by `LIMITS`.

    Args:
        request: what both were asked (see `self_check.request_of`), and ``unlike``: the strings that no file can make
            llama.cpp read as the tokenizer does, each with the reason.
        left_out: why the checkpoint was not computed; empty when it was.
        expected: what the checkpoint's side answered: ``sums`` and ``counts``.
        found: what llama.cpp's side answered: besides these ``tokens`` and ``finite``.
    """
    kind: Kind = request["kind"]
    precision, folder = str(request["precision"]), Path(request["folder"])
    texts = Texts.load(folder)
    differences = _token_differences(texts.strings, found["tokens"])
    known = [one for one in differences if one.text in request["unlike"]]
    reasons = sorted({request["unlike"][one.text] for one in known})
    notes = [f"A text is read differently in llama.cpp, whatever the file says: {reason}." for reason in reasons]
    if left_out:
        notes.insert(0, left_out)
    strings, equal = len(texts.strings), len(texts.strings) - len(differences)
    figures: dict[str, Any] = {"strings": strings, "tokens_equal": equal, "finite": bool(found["finite"])}
    findings = [
        Finding(
            what="tokens",
            found=f"{equal} of {strings} strings the same",
            limit=f"{strings - len(known)}",
            passed=len(known) == len(differences),
        ),
        Finding(
            what="numbers",
            found="all are finite" if found["finite"] else "some are not finite",
            passed=bool(found["finite"]),
        ),
    ]
    if not precision:
        findings += [
            Finding(what=what, found="left out")
            for what in (("cosine",) if request["encoder"] else ("logits", "perplexity"))
        ]
    elif found["finite"] and request["encoder"]:
        same = [text not in {one.text for one in differences} for text in texts.sentences]
        figures |= _compare_vectors(folder, FOUND, same)
        if request["exact"]:
            before = _compare_vectors(folder, EXACT, same)
            findings.append(_judge_vectors(before, EXACT_LIMITS[request["exact_precision"]], "before"))
        findings.append(_judge_vectors(figures, LIMITS[kind], "cosine"))
    elif found["finite"]:
        shapes = [np.load(folder / name, mmap_mode="r").shape for name in (EXPECTED, FOUND)]
        if shapes[0] != shapes[1]:
            return unable(kind, f"The checkpoint has logits for {shapes[0][1]} tokens, the file for {shapes[1][1]}.")
        figures |= _compare_logits(folder, FOUND) | _compare_perplexities(expected, found, str(request["text"]))
        if request["exact"]:
            before = _compare_logits(folder, EXACT)
            figures["difference_before"] = before["largest_logit_difference"]
            findings.append(_judge_before(before, _loosened(EXACT_LIMITS[request["exact_precision"]], precision)))
        findings += _judge_logits(figures, _loosened(LIMITS[kind], precision))
    why = [_sentence(finding, differences, known) for finding in findings if finding.passed is False]
    return SelfCheck(
        kind=kind,
        differences=tuple(differences),
        reference=precision,
        findings=tuple(findings),
        left_out=tuple(notes),
        why=tuple(why),
        passed=not why,
        **figures,
    )


def _loosened(limits: Limits, precision: str) -> Limits:
    """The limits where the checkpoint itself is computed in bfloat16, which rounds more than most kinds lose."""
    if precision != "bf16":
        return limits
    least = EXACT_LIMITS["bf16"]
    difference = None if limits.difference is None else max(limits.difference, least.difference or 0.0)
    return limits._replace(difference=difference, top1=min(limits.top1, least.top1))


def _token_differences(strings: list[tuple[str, list[int]]], found: list[list[int]]) -> list[TokenDifference]:
    differences = []
    for (text, expected), tokens in zip(strings, found, strict=True):
        if expected == tokens:
            continue
        pairs = enumerate(zip(expected, tokens, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), min(len(expected), len(tokens)))
        until = place + _SHOWN_TOKENS
        differences.append(
            TokenDifference(
                text=text, place=place, expected=tuple(expected[place:until]), found=tuple(tokens[place:until])
            )
        )
    return differences


def _compare_logits(folder: Path, name: str) -> dict[str, Any]:
    """Largest difference, spread and agreement of two arrays (positions, vocabulary), a block at a time."""
    expected, found = (np.load(folder / one, mmap_mode="r") for one in (EXPECTED, name))
    largest, spread, same = 0.0, 0.0, 0
    for start in range(0, len(expected), _BLOCK):
        ours, theirs = found[start : start + _BLOCK], expected[start : start + _BLOCK]
        largest = max(largest, float(np.abs(ours - theirs).max()))
        spread += float(theirs.std(axis=1).sum())
        same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    return {
        "positions": len(expected),
        "largest_logit_difference": largest,
        "logit_spread": spread / len(expected),
        "top1_agreement": same / len(expected),
    }


def _compare_perplexities(expected: Message, found: Message, text: str) -> dict[str, Any]:
    if not text or not expected["counts"]:
        return {}
    theirs = math.exp(-expected["sums"] / expected["counts"])
    ours = math.exp(min(700.0, -found["sums"] / found["counts"]))  # beyond, the number has no name
    return {
        "perplexity": ours,
        "perplexity_of_checkpoint": theirs,
        "perplexity_tokens": int(expected["counts"]),
        "perplexity_text": "" if text == str(shipped_prose()) else text,
        "ratio": ours / theirs,
    }


def _compare_vectors(folder: Path, name: str, same: list[bool]) -> dict[str, Any]:
    """The least cosine over the sentences that both read as the same tokens."""
    expected, found = np.load(folder / EXPECTED), np.load(folder / name)
    cosines = (expected * found).sum(axis=1)[np.array(same)]
    return {"positions": len(cosines), "smallest_cosine": float(cosines.min()) if len(cosines) else 0.0}


def _relative(figures: Mapping[str, Any]) -> float:
    """The largest difference of a logit, in units of their spread."""
    spread = float(figures["logit_spread"])
    return float(figures["largest_logit_difference"]) / spread if spread else math.inf


def _judge_before(figures: Mapping[str, Any], limits: Limits) -> Finding:
    relative = _relative(figures)
    return Finding(
        what="before",
        found=f"largest difference {figures['largest_logit_difference']:.4f}, {relative:.1%} of the logits' spread",
        limit=f"{limits.difference:.0%}",
        passed=limits.difference is None or relative <= limits.difference,
    )


def _judge_logits(figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    relative, agreement, largest = _relative(figures), figures["top1_agreement"], figures["largest_logit_difference"]
    findings = [
        Finding(
            what="logits",
            found=f"largest difference {largest:.4f} over {figures['positions']} positions, "
            f"{relative:.1%} of their spread of {figures['logit_spread']:.2f}",
            limit="" if limits.difference is None else f"{limits.difference:.0%}",
            passed=None if limits.difference is None else relative <= limits.difference,
        ),
        Finding(
            what="top1",
            found=f"the same likeliest token at {agreement:.1%} of the positions",
            limit=f"{limits.top1:.0%}" if limits.top1 else "",
            passed=agreement >= limits.top1 if limits.top1 else None,
        ),
    ]
    if "ratio" in figures:
        findings.append(
            Finding(
                what="perplexity",
                found=f"{figures['perplexity']:.3f} for {figures['perplexity_of_checkpoint']:.3f} of the checkpoint, "
                f"a ratio of {figures['ratio']:.4f} on {figures['perplexity_tokens']} tokens",
                limit=f"{limits.ratio:.2f}",
                passed=figures["ratio"] <= limits.ratio,
            )
        )
    return findings


def _judge_vectors(figures: Mapping[str, Any], limits: Limits, what: str) -> Finding:
    cosine = figures["smallest_cosine"]
    return Finding(
        what=what,
        found=f"cosine of {cosine:.6f} at the least, over {figures['positions']} texts",
        limit=f"{limits.cosine:g}",
        passed=cosine >= limits.cosine,
    )


_REASONS = {
    "numbers": "Some of the numbers it computes are none: weights too large for this kind of file, or damaged.",
    "before": "Before it was quantised it did not compute what the checkpoint does: {found}; {limit} is allowed.",
    "logits": "It computes something else than the checkpoint: {found}; {limit} is allowed.",
    "top1": "It chooses other tokens than the checkpoint: {found}; {limit} is asked for.",
    "perplexity": "It understands prose less well than the checkpoint: a perplexity of {found}; {limit} is allowed.",
    "cosine": "Its vectors are not those of the checkpoint: {found}; {limit} is asked for.",
}


def _sentence(finding: Finding, differences: list[TokenDifference], known: list[TokenDifference]) -> str:
    if finding.what == "tokens":
        first = next(one for one in differences if one not in known)
        return (
            f"It reads {len(differences)} of the strings as other tokens than the checkpoint; the first is "
            f"{first.text!r}, from token {first.place}: {list(first.found)} instead of {list(first.expected)}."
        )
    return _REASONS[finding.what].format(found=finding.found, limit=finding.limit)
