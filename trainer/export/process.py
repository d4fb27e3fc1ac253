"""The program of an export's own process: ``python -m trainer.export.process FOLDER``.

It reads from the folder's config.json what to export, and writes how far it is, how it ended and what came of it into
the folder; see `trainer.export.jobs`.
"""

import argparse
import faulthandler
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mediator.errors import EvenhandError
from trainer.runs.failures import EXPORT
from trainer.runs.folder import RunFolder, write_json
from trainer.runs.process import Task, work
from trainer.runs.reporter import FolderReporter

RESULT_FILE = "result.json"
"""In an export's folder: what became of it, as `trainer.export.exporting.Result`."""


class CheckFailed(EvenhandError):
    """The file was written and is not what it should be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a model. Returns 0 done, 1 failed or another process works on it, 130 stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.export.process", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="the export's folder")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    return work(RunFolder(options.folder.absolute()), False, Task(_export, _stopped_words, EXPORT))


def _export(config: dict[str, Any], folder: Path, reporter: FolderReporter, resume: bool) -> None:
    from trainer.export.exporting import Export

    reporter.phase("writing")
    result = Export.model_validate(config.get("settings") or {}).run(reporter)
    write_json(folder / RESULT_FILE, result.model_dump(mode="json"), synced=True)
    if not result.passed:
        why = result.check.why[0] if result.check is not None and result.check.why else "It does not say why."
        raise CheckFailed(f"The file did not pass its check. {why}", f"It is kept as {result.file}; do not use it.")


def _stopped_words(folder: RunFolder) -> str:
    return "Cancelled; nothing of the file was kept."


if __name__ == "__main__":
    sys.exit(main())
