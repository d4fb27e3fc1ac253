"""What the store of sessions takes: thousands of sessions listed, searched, read, changed and deleted."""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.session import Form, Proposal, Round, Session, SideForm, now
from mediator.store import FILE_NAME, Store

WORDS = """dogs park leash tenant noise garden library hours quiet evening fence child school street parking tree light
budget council share schedule agree pay rota weekend morning bench water bicycle path café market""".split()
SCORES = Scores(score_a=0.6, score_b=0.6, raw_a=0.1, raw_b=0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--proposals", type=int, default=12, help="of each round")
    arguments = parser.parse_args()
    chance = random.Random(1)

    def text(count: int) -> str:
        return " ".join(chance.choice(WORDS) for _ in range(count))

    def candidate() -> Candidate:
        return Candidate(text=text(40), strategy=Strategy.SINGLE, scores=SCORES)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        store = Store(path)
        for number in range(arguments.sessions):
            store.add(_session(number, arguments.rounds, arguments.proposals, text, candidate))
        print(f"{arguments.sessions} sessions, {path.stat().st_size / 1e6:.1f} MB")
        newest = store.list()[0].id
        session = store.get(newest)
        entry = store.start_round(newest, session.rounds[0].dispute, "drafter", "single", 4, 1, 0)
        proposal = store.add_proposal(entry.id, candidate())
        ids = iter([summary.id for summary in store.list()])
        for name, times, work in (
            ("list", 7, lambda: store.list()),
            ("list, a word in every session", 7, lambda: store.list("rota")),
            ("list, a word in one session", 7, lambda: store.list("1999")),
            ("list, a word in none", 7, lambda: store.list("giraffe")),
            ("get", 51, lambda: store.get(newest)),
            ("version", 501, lambda: store.version(newest)),
            ("save_form, nothing changed", 51, lambda: store.save_form(newest, session.form)),
            ("save_form", 51, lambda: store.save_form(newest, Form(comment=text(20)))),
            ("add_proposal", 51, lambda: store.add_proposal(entry.id, candidate())),
            ("rate", 51, lambda: store.rate(proposal.id, "a", 3, text(3))),
            ("delete", 5, lambda: store.delete(next(ids))),
        ):
            print(f"{name:32} {1000 * _median(work, times):8.2f} ms")
        store.close()


def _session(
    number: int, rounds: int, proposals: int, text: Callable[[int], str], candidate: Callable[[], Candidate]
) -> Session:
    time_ = now()
    return Session(
        id="",
        title=f"Case {number}",
        form=Form(side_a=SideForm(text=text(60)), side_b=SideForm(text=text(60))),
        rounds=tuple(
            Round(
                id="",
                number=place,
                dispute=Dispute(view_a=View(text=text(60)), view_b=View(text=text(60))),
                model="drafter",
                strategy="single",
                count=4,
                rounds=1,
                seed=0,
                state="done",
                started_at=time_,
                proposals=tuple(Proposal(id="", candidate=candidate()) for _ in range(proposals)),
            )
            for place in range(1, rounds + 1)
        ),
        created_at=time_,
        updated_at=time_,
    )


def _median(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
