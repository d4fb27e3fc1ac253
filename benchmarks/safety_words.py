"""Which real views get the note on safety, to be read by eye: it prints each with the words that were noticed.

    python benchmarks/safety_words.py [--sample 60]

Reads efp/pairs.jsonl and opposing/perspectrum.jsonl in ../shared/data beside the repository, or under EVENHAND_DATA.
"""

import argparse
import json
import os
import random
from pathlib import Path

from mediator.safety import concerns
from mediator.schema import Dispute, View

DATA = Path(os.environ.get("EVENHAND_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def views(source: str) -> list[View]:
    """The different views of one source."""
    if source == "efp":
        rows = [json.loads(line) for line in (DATA / "efp" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
        found = [View(**row[side]) for row in rows for side in ("view_a", "view_b")]
    else:
        text = (DATA / "opposing" / "perspectrum.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        found = [View(text=" ".join(row[side][:3])) for row in rows for side in ("support", "undermine") if row[side]]
    return list({view.as_text(): view for view in found}.values())


def main() -> None:
    """Print the flagged views with the words noticed, and a sample of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=60, help="how many of the views without a note to print")
    sample = parser.parse_args().sample
    for source in ("efp", "opposing"):
        noticed, quiet = [], []
        for view in views(source):
            found = [one for one in concerns(Dispute(view_a=view, view_b=View(text="-"))) if one.side == "a"]
            (noticed if found else quiet).append((view.as_text(), found))
        print(f"== {source}: {len(noticed)} of {len(noticed) + len(quiet)} views get the note")
        for text, found in noticed:
            print("+", "; ".join(f"{one.kind}: {one.phrase}" for one in found), "|", " ".join(text.split())[:300])
        for text, _ in random.Random(0).sample(quiet, min(sample, len(quiet))):
            print("-", " ".join(text.split())[:300])


if __name__ == "__main__":
    main()
