"""A swap audit on its way into a session and back: what is kept of it, and what was found from what was kept."""

from datetime import datetime

from mediator.kept_audit import AuditRun, KeptAudit
from mediator.mediation import MediationDone, MediationOptions
from mediator.schema import Dispute
from mediator.swap_audit import SwapAudit, matched


def kept(
    found: SwapAudit,
    dispute: Dispute,
    model: str,
    options: MediationOptions,
    made_at: datetime,
) -> KeptAudit:
    """Return a finished audit as it is kept, of no round so far.

    Raises:
        ValueError: it has no verdict.
    """
    if found.verdict is None:
        raise ValueError("an audit that was cut short is not kept")
    return KeptAudit(
        dispute=dispute,
        model=model,
        strategy=options.strategy,
        count=options.count,
        rounds=options.rounds,
        seed=options.seed,
        comment="\n".join(options.comments),
        verdict=found.verdict,
        scores_exchange=found.scores_exchange,
        tilt_original=found.tilt_original,
        tilt_swapped=found.tilt_swapped,
        position_bias=found.position_bias,
        error_original=found.error_original,
        error_swapped=found.error_swapped,
        chance=found.chance,
        original=_kept_run(found.original),
        swapped=_kept_run(found.swapped),
        made_at=made_at,
    )


def _kept_run(done: MediationDone) -> AuditRun:
    chosen = {id(candidate) for candidate in done.candidates}
    rest = tuple(candidate for candidate in done.pool if id(candidate) not in chosen)
    return AuditRun(selected=done.candidates, rest=rest)


def as_found(audit: KeptAudit) -> SwapAudit:
    """Return an audit that was kept as it was found; how its runs went (sources, timings) was not kept."""
    original, swapped = (MediationDone(run.selected, run.pool, {}, {}) for run in (audit.original, audit.swapped))
    pairs, only_original, only_swapped = matched(original.candidates, swapped.candidates)
    return SwapAudit(
        verdict=audit.verdict,
        original=original,
        swapped=swapped,
        pairs=pairs,
        only_original=only_original,
        only_swapped=only_swapped,
        largest_score_difference=max((pair.score_difference for pair in pairs), default=0.0),
        scores_exchange=audit.scores_exchange,
        tilt_original=audit.tilt_original,
        tilt_swapped=audit.tilt_swapped,
        position_bias=audit.position_bias,
        error_original=audit.error_original,
        error_swapped=audit.error_swapped,
        chance=audit.chance,
    )
