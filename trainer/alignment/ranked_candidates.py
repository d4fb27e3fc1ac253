"""Candidates of the model's own, ranked: the best first, by their neutrality or by how widely acceptable they are."""

import hashlib
import json
from collections.abc import Callable, Sequence

from mediator.acceptance import Acceptance
from mediator.atomic_file import write_whole
from mediator.empathy import EmpathyModel
from mediator.neutrality import best_first
from mediator.schema import Candidate, Dispute, Strategy
from trainer.alignment.align import Answers
from trainer.alignment.config import CalibrateConfig
from trainer.alignment.workshop import Workshop, first_then_others
from trainer.progress import Stopped

Ranking = Callable[[Dispute, Sequence[str]], list[str]]
"""Orders the texts of one dispute, the best first. None of them is empty."""


def ranked(work: Workshop, config: CalibrateConfig, answers: Answers) -> Answers:
    """Put the candidates of each pair into their order (d-PM, eq. 7), the best first; empty ones come last.

    The order is kept in the run's cache: a run that was killed takes it up again.

    Args:
        work: the run.
        config: says by what to rank.
        answers: K candidates of each pair.

    Returns:
        the same texts, as often as they were given.

    Raises:
        Stopped: the reporter said so.
        ModelFileError: the preference model is missing, damaged, or of another encoder.
    """
    found: Answers = first_then_others(lambda: _ranked(work, config, answers), work.settings.device)
    return found


def _ranked(work: Workshop, config: CalibrateConfig, answers: Answers) -> Answers:
    path = work.cache / "ranked.json"
    spoken = json.dumps(
        [[example.model_dump(mode="json", exclude={"candidates"}) for example in work.examples], answers]
    )
    depends = [config.ranking, config.preference_model, hashlib.sha256(spoken.encode()).hexdigest()]
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["depends"] == depends:
            return [[str(text) for text in texts] for texts in kept["ranked"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    scorer = EmpathyModel.load()
    try:
        order = by_gap(scorer)
        if config.ranking == "preference":
            order = by_preference(scorer, Acceptance.load(config.preference_model, scorer.encoder.fingerprint))
        found = []
        for number, (example, texts) in enumerate(zip(work.examples, answers, strict=True)):
            if work.reporter.should_stop():
                raise Stopped
            work.reporter.phase("measuring", number, len(answers))
            written = [text for text in texts if text.strip()]
            found.append([*order(example, written), *(text for text in texts if not text.strip())])
    finally:
        scorer.close()
    work.reporter.phase("measuring", len(answers), len(answers))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"depends": depends, "ranked": found}))
    return found


def by_gap(scorer: EmpathyModel) -> Ranking:
    """Rank as a mediator's selection does: what is warm to both sides by rising gap, the rest by falling warmth."""

    def order(dispute: Dispute, texts: Sequence[str]) -> list[str]:
        scores = scorer.score(dispute, texts) if texts else []
        scored = [
            Candidate(text=text, strategy=Strategy.SINGLE, scores=found)
            for text, found in zip(texts, scores, strict=True)
        ]
        given = {id(candidate): text for candidate, text in zip(scored, texts, strict=True)}
        return [given[id(candidate)] for candidate in best_first(scored)]

    return order


def by_preference(scorer: EmpathyModel, acceptance: Acceptance) -> Ranking:
    """Rank by the share of people who would agree, as a preference model on the scorer's encoder has it."""

    def order(_dispute: Dispute, texts: Sequence[str]) -> list[str]:
        shares = acceptance.shares(scorer.embed(texts))
        return [texts[place] for place in sorted(range(len(texts)), key=lambda place: -shares[place])]

    return order
