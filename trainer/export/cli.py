"""`evenhand export gguf`: a checkpoint becomes a GGUF file, with progress, and a table of what its check found."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cli_output import DONE, FAILED, add_output, print_json, say
from mediator.durations import time_left
from mediator.errors import InputError

if TYPE_CHECKING:
    from trainer.export.exporting import Result, Stage

_KINDS = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m")  # trainer.export.quantise.KINDS; a test holds them together

_EPILOG = """\
kinds (--quant), for a model of a billion weights:
  f16     2.0 GB; nothing is lost that a text would show
  q8_0    1.1 GB; hardly anything
  q6_k    0.8 GB; little
  q5_k_m  0.7 GB
  q4_k_m  0.6 GB; the default: the smallest that is worth having

Families: Llama, Mistral, Qwen2, Qwen3, and BERT encoders. docs/export.md says what the check means.

The check compares the file with the checkpoint: tokens, logits, and for a quantised file the perplexity. It needs
torch and transformers, and memory for the checkpoint. A file that does not pass is kept as NAME.failed.gguf.

examples:
  evenhand export gguf data/runs/RUN/model
  evenhand export gguf BASE --adapter data/runs/RUN/adapter --quant q8_0 --output mediator.gguf
  evenhand export gguf data/runs/RUN/model --text wikitext2/test.txt --json

exit status: 0 done, and the check passed; 1 the work or the check failed; 2 bad usage or bad input;
130 stopped with Ctrl-C (nothing is left behind)"""

_STAGES = {"writing": "Writing the weights", "quantising": "Quantising", "checking": "Checking"}


def add_export(commands: Any) -> None:
    """Add ``export`` with its formats to a parser's sub-commands; each sets ``handler``."""
    parser = commands.add_parser(
        "export",
        help="write a trained checkpoint as one file that the app serves",
        description="Write a trained checkpoint as one file that the app, and anything with llama.cpp in it, serves.",
        allow_abbrev=False,
    )
    formats = parser.add_subparsers(title="formats", metavar="FORMAT", required=True)
    gguf = formats.add_parser(
        "gguf",
        help="a GGUF file, quantised and checked against its checkpoint",
        description="Write a Hugging Face checkpoint as a GGUF file, quantise it, and check it against the checkpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    gguf.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a folder with config.json, safetensors and a tokenizer"
    )
    gguf.add_argument("--adapter", type=Path, metavar="DIR", help="a LoRA adapter trained on it, to be merged into it")
    gguf.add_argument(
        "--quant", choices=_KINDS, default="q4_k_m", help="how to quantise the weights; see below (default: q4_k_m)"
    )
    gguf.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: beside the checkpoint, named after it)"
    )
    gguf.add_argument("--force", action="store_true", help="replace a file that is there, once the new one is checked")
    gguf.add_argument("--name", default="", help="the model's name in the file (default: the folder's)")
    gguf.add_argument("--licence", default="", metavar="SPDX", help="the model's licence in the file, e.g. apache-2.0")
    gguf.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="prose for the perplexity, such as WikiText-2's test.txt (default: a short story of Evenhand's own)",
    )
    gguf.add_argument(
        "--windows",
        type=int,
        default=0,
        metavar="N",
        help="read at most N windows of 512 tokens of it (default: what takes some minutes)",
    )
    gguf.add_argument("--no-check", action="store_true", help="leave the check out; the file is then not known to work")
    add_output(gguf)
    gguf.set_defaults(handler=export_command)


def export_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand export gguf`."""
    if arguments.windows < 0:
        raise InputError(f"--windows is {arguments.windows}.", "It must be 0 (what takes some minutes) or more.")
    from trainer.export.exporting import Export

    export = Export(
        checkpoint=arguments.checkpoint,
        quant=arguments.quant,
        output=arguments.output,
        adapter=arguments.adapter,
        name=arguments.name,
        licence=arguments.licence,
        text=arguments.text,
        windows=arguments.windows,
        check=not arguments.no_check,
        force=arguments.force,
    )
    say(export.plan().sentence())
    result = export.run(Progress())
    if arguments.json:
        print_json(result.model_dump(mode="json"))
    else:
        sys.stdout.write(as_text(result))
    if not result.passed:
        for reason in result.check.why if result.check else ():
            say(reason)
        say(f"The file did not pass its check and is kept as {result.file}.")
        return FAILED
    return DONE


def as_text(result: "Result") -> str:
    """Return what is printed of an export: the file, what was done to it, and the table of its check."""
    from mediator.memory import gigabytes
    from mediator.terminal import safe

    lines = [f"{result.file}  {result.kind}, {gigabytes(result.size)}"]
    if result.quantised is not None:
        types = ", ".join(f"{count} {name}" for name, count in result.quantised.types.items())
        lines.append(f"Tensors: {types}.")
        if result.quantised.fallbacks:
            lines.append(
                f"{result.quantised.fallbacks} of them have rows that blocks of 256 do not divide; "
                "llama.cpp took blocks of 32 for these."
            )
    if result.check is None:
        lines.append("Not checked: nobody knows whether it says what the checkpoint says.")
    else:
        lines += ["", *_table(result)]
        lines += result.check.left_out
    if result.model:
        lines += ["", f"Use it with: evenhand propose library-hours --model {shlex.quote(result.model)}"]
    return safe("\n".join(lines)) + "\n"


def _table(result: "Result") -> list[str]:
    assert result.check is not None  # the caller has looked
    words = {True: "passed", False: "FAILED", None: "-"}
    rows = [("check", "found", "limit", "")]
    rows += [(one.what, one.found, one.limit, words[one.passed]) for one in result.check.findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows]
    if result.check.reference:
        words_for = {"fp32": "float32", "bf16": "bfloat16"}
        lines.append(f"The checkpoint was computed in {words_for[result.check.reference]}.")
    lines.append(f"The file {'passed' if result.passed else 'did NOT pass'} its check.")
    return [line.rstrip() for line in lines]


class Progress:
    """Tells on stderr how far an export is: at each new stage, at its end, and every few seconds between."""

    SECONDS = 5.0

    def __init__(self) -> None:
        self._stage, self._said, self._started, self._first = "", 0.0, 0.0, 0

    def phase(self, name: "Stage", done: int = 0, total: int = 0) -> None:
        """Say how much is done, and how long the rest may take."""
        now = time.monotonic()
        if name != self._stage:
            self._stage, self._said, self._started, self._first = name, now, now, done
            say(f"{_STAGES[name]} ...")
            return
        if not total or now - self._said < self.SECONDS:
            return
        self._said = now
        left = time_left(now - self._started, done - self._first, total - self._first)
        say(f"{_STAGES[name]}: {done / total:.0%}{left}")

    def should_stop(self) -> bool:
        """Return False: Ctrl-C comes as an exception."""
        return False
