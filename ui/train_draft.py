"""What is typed in the form of a new run, kept on the disk: a reload, a second window and a restart find it."""

import json
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mediator.settings import data_folder
from ui.train_settings import Draft, draft_of

FILE_NAME = "train-form.json"
_LARGEST = 1_000_000  # bytes
_log = logging.getLogger(__name__)


def load() -> Draft:
    """Return what was typed last; an empty draft where nothing was, or it cannot be read."""
    path = data_folder() / FILE_NAME
    try:
        if path.stat().st_size > _LARGEST:
            return Draft()
        return draft_of(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return Draft()


def save(draft: Draft) -> None:
    """Keep a draft. What cannot be kept is said in the log only: the form works without."""
    if draft == load():
        return
    path = data_folder() / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, {"recipe": draft.recipe, "values": dict(draft.values), "processes": draft.processes})
    except OSError as error:
        _log.warning("the form of the Train tab cannot be kept", exc_info=error)


def _replace(path: Path, content: dict[str, object]) -> None:
    """Replace the file at once: whoever reads finds the old one or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE_NAME}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
