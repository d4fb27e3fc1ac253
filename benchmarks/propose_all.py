"""Every strategy of the drafter on every real pair of views: what breaks, and how gap and warmth are distributed.

    python benchmarks/propose_all.py [--every 1] [--workers 2] [--report FILE]

Reads efp/pairs.jsonl and opposing/perspectrum.jsonl in ../shared/data beside the repository, or under EVENHAND_DATA.
"""

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from workers import end_with_parent

from mediator.empathy import EmpathyModel
from mediator.mediation import MediationDone, MediationOptions, propose
from mediator.neutrality import WARMTH_FLOOR, overlap
from mediator.schema import Dispute, Strategy, View
from mediator.writers.drafter import Drafter

DATA = Path(os.environ.get("EVENHAND_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
# Words in a row that a proposal may share with a view: an ask quoted by a process proposal has up to 16.
LONGEST_QUOTE = 20

_WORD = re.compile(r"\w+")
_BROKEN = re.compile(r"[{}]|\b(the|a|an|of|to|will|for|and|in) \1\b|\s[,.]|\.\.(?!\.)|\s\s", re.IGNORECASE)


def disputes(source: str) -> list[Dispute]:
    """Real disputes: `efp` has structured views, `opposing` has free text made of two perspectives of each side."""
    if source == "efp":
        lines = (DATA / "efp" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [Dispute(view_a=View(**row["view_a"]), view_b=View(**row["view_b"])) for row in rows]
    lines = (DATA / "opposing" / "perspectrum.jsonl").read_text(encoding="utf-8").splitlines()
    result = []
    for line in lines:
        row = json.loads(line)
        sides = [
            " ".join(f"{text.strip().rstrip('.')}." for text in row[side][:3]) for side in ("support", "undermine")
        ]
        if all(sides):
            claim = row["claim"].strip().rstrip(".") + ". "
            result.append(Dispute(view_a=View(text=claim + sides[0]), view_b=View(text=sides[1])))
    return result


def longest_shared_run(first: str, second: str) -> int:
    """The length in words of the longest run that two texts share."""
    one, two = _WORD.findall(first.lower()), _WORD.findall(second.lower())
    best, previous = 0, [0] * (len(two) + 1)
    for word in one:
        current = [0] * (len(two) + 1)
        for position, other in enumerate(two, start=1):
            if word == other:
                current[position] = previous[position - 1] + 1
                best = max(best, current[position])
        previous = current
    return best


def faults(texts: list[str], dispute: Dispute, count: int) -> list[str]:
    """What is wrong with a set of proposals."""
    found = []
    if len(texts) != count:
        found.append(f"{len(texts)} candidates instead of {count}")
    for position, text in enumerate(texts):
        if not text.strip():
            found.append("empty candidate")
        if _BROKEN.search(re.sub(r"“[^”]*”", "“”", text)) or "None" in text:
            found.append(f"broken English: {text}")
        if any(overlap(text, other) > 0.8 for other in texts[:position]):
            found.append(f"near duplicate: {text}")
        views = (dispute.view_a.as_text(), dispute.view_b.as_text())
        if any(longest_shared_run(text, view) > LONGEST_QUOTE for view in views):
            found.append(f"copies a view: {text}")
    return found


@cache
def _scorer() -> EmpathyModel:
    return EmpathyModel.load()


def work(job: tuple[int, Dispute, str]) -> dict[str, Any]:
    """Propose for one dispute with one strategy."""
    number, dispute, strategy = job
    started = time.perf_counter()
    try:
        scorer = _scorer()
        options = MediationOptions(strategy=strategy)  # type: ignore[arg-type]
        *_, done = propose(dispute, Drafter(scorer), scorer, options)
        assert isinstance(done, MediationDone)
        texts = [candidate.text for candidate in done.candidates]
        scores = [candidate.scores for candidate in done.candidates if candidate.scores is not None]
        return {
            "number": number,
            "strategy": strategy,
            "faults": faults(texts, dispute, 4),
            "gap": [score.gap for score in scores],
            "warmth": [score.warmth for score in scores],
            "process": sum("“" in text for text in texts),
            "seconds": time.perf_counter() - started,
            "texts": texts,
        }
    except Exception as error:  # noqa: BLE001 - the point is to count every crash
        return {"number": number, "strategy": strategy, "faults": [f"crash: {type(error).__name__}: {error}"]}


def side_by_side(work: Callable[[Any], dict[str, Any]], jobs: Sequence[Any], workers: int) -> list[dict[str, Any]]:
    """Do all jobs, so many at a time; return what each gives, in their order."""
    with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
        return list(pool.map(work, jobs, chunksize=8))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=["efp", "opposing"], default="efp")
    parser.add_argument("--every", type=int, default=1, help="take every Nth dispute")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", type=Path, help="every result as JSON lines; holds texts: keep it private")
    arguments = parser.parse_args()
    chosen = list(enumerate(disputes(arguments.source)))[:: arguments.every]
    jobs = [(number, dispute, strategy.value) for number, dispute in chosen for strategy in Strategy]
    started = time.perf_counter()
    results = side_by_side(work, jobs, arguments.workers)
    if arguments.report:
        arguments.report.write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    broken = [result for result in results if result["faults"]]
    print(f"{len(chosen)} disputes of {arguments.source}, {len(jobs)} runs in {time.perf_counter() - started:.0f} s")
    print(f"runs with a fault: {len(broken)}")
    for result in broken[:20]:
        print(f"  row {result['number']} {result['strategy']}: {str(result['faults'])[:300]}")
    print("| strategy | gap mean | median | 90 % | warmth mean | median | above floor | process | s a run |")
    print("|---|---|---|---|---|---|---|---|---|")
    for strategy in Strategy:
        own = [result for result in results if result["strategy"] == strategy.value and "gap" in result]
        gaps = sorted(value for result in own for value in result["gap"])
        warmth = sorted(value for result in own for value in result["warmth"])
        process = sum(result["process"] for result in own) / max(1, len(gaps))
        seconds = statistics.fmean(result["seconds"] for result in own)
        above = sum(value >= WARMTH_FLOOR for value in warmth) / len(warmth)
        print(
            f"| {strategy.value} | {statistics.fmean(gaps):.3f} | {statistics.median(gaps):.3f} "
            f"| {gaps[int(0.9 * len(gaps))]:.3f} | {statistics.fmean(warmth):.3f} | {statistics.median(warmth):.3f} "
            f"| {above:.0%} | {process:.1%} | {seconds:.2f} |"
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
