"""What the Train tab reads of the runs and does to them; holds nothing, because the runs' folders know it all."""

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from mediator.errors import EvenhandError, InputError
from trainer.export import jobs as export_jobs
from trainer.models.shape import read_shape
from trainer.runs import runs
from trainer.runs.folder import RunFolder, read_lines
from trainer.runs.runs import Run
from ui.train_checks import views_of
from ui.train_detail import MOST_SAMPLES, Shown
from ui.train_metrics import Metrics
from ui.train_settings import FILES, PATHS
from ui.train_state import model_name, title_of
from ui.train_view import MOST_COMPARED, runs_page
from ui.train_words import moment

_LOG_LINES = 60
_log = logging.getLogger(__name__)


def drawn(here: str, language: str, *, with_writer: bool = True) -> tuple[str, bool]:
    """Return the list of runs with what is chosen in it, and whether any run works.

    Args:
        here: the part of the page's address behind the #: ``run=ID&with=ID,ID``. Without a run that is there, the
            newest one that works is shown, else the newest one.
        language: of the page.
        with_writer: whether the page has a place where a trained model can write.
    """
    found = runs.list_runs()
    run_id, compared = _asked(here)
    by_id = {run.id: run for run in found}
    chosen = by_id.get(run_id) or next((run for run in found if run.active), found[0] if found else None)
    side_by_side = [by_id[one] for one in compared if one in by_id][:MOST_COMPARED]
    page = runs_page(
        found,
        shown(chosen, with_writer=with_writer) if chosen is not None else None,
        [(run, metrics_of(run)) for run in side_by_side],
        language,
    )
    exporting = chosen is not None and any(job.active for job in export_jobs.list_jobs(chosen))
    return page, exporting or any(run.active for run in found)


def shown(run: Run, *, with_writer: bool = True) -> Shown:
    """Return what the page shows of a run."""
    samples = runs.samples(run)
    ids = frozenset(str(one.get("dispute_id", "")) for one in samples[-MOST_SAMPLES:])
    paths = [str(run.settings.get(name, "")) for name in ("validation", "dataset")]
    views = views_of(next(filter(None, paths), ""), ids) if ids else {}
    try:
        command = runs.command_of(run.recipe, run.settings)
    except EvenhandError:  # of a recipe that only the command line has
        command = ""
    exports = export_jobs.list_jobs(run) if export_jobs.exportable(run) else None
    return Shown(
        run,
        metrics_of(run),
        samples,
        views,
        runs.log_tail(run, _LOG_LINES),
        command,
        writer=writer_of(run) if with_writer else "",
        exports=exports,
        export_logs={
            job.kind: export_jobs.log_tail(job, _LOG_LINES) for job in exports or () if job.run.state == "failed"
        },
        weights=_weights(str(run.folder / "model")) if exports is not None else 0,
        with_writer=with_writer,
    )


@lru_cache(maxsize=64)
def _weights(folder: str) -> int:
    """How many weights a finished model has; 0 where that cannot be told. They do not change any more."""
    try:
        found = read_shape(folder)
    except (EvenhandError, OSError):
        return 0
    return found.parameters if found is not None else 0


def writer_of(run: Run, kind: str = "") -> str:
    """Return the name of a run's model as a writer: ``hf:FOLDER``, or ``gguf:FILE`` of its export to a kind.

    Empty where it has none yet. Raises `export_jobs.ExportNotFound`.
    """
    if kind:
        return export_jobs.find(run, kind).writer
    folder = run.model
    if folder is None or not folder.is_dir():
        return ""
    if (folder / "config.json").is_file():
        return f"hf:{folder}"
    adapter = (folder / "adapter_config.json").is_file()
    return f"hf:{run.settings.get('model', '')}+{folder}" if adapter else ""


def metrics_of(run: Run) -> Metrics:
    """Return a run's metrics, read again only when their file has changed."""
    path = RunFolder(run.folder).metrics
    try:
        found = path.stat()
    except OSError:
        return ()
    return _metrics(run.folder, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=32)
def _metrics(folder: Path, changed: int, size: int) -> Metrics:
    return read_lines(RunFolder(folder).metrics)


def known_files(language: str) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Return what the fields that name files can offer: results and data of earlier runs, each with a remark."""
    offers: dict[str, dict[str, str]] = {name: {} for name in (*PATHS, *FILES)}
    for run in runs.list_runs():
        if run.model is not None and (run.model / "config.json").is_file():
            offers["model"].setdefault(str(run.model), f"{title_of(run, language)}, {moment(run.created, language)}")
        for name in offers:
            if value := str(run.settings.get(name, "")):
                offers[name].setdefault(value, model_name(value))
    return {name: tuple(values.items()) for name, values in offers.items()}


def act(what: str, run_id: str, kind: str = "") -> None:
    """Do what a button says. Raises `EvenhandError`.

    A run or an export is asked to stop at once; that it does, by force if need be, is seen to in the background.

    Args:
        what: ``stop``, ``resume``, ``delete``; ``export``, or ``cancel`` for an export.
        run_id: the whole id.
        kind: of an export.
    """
    if what not in ("stop", "resume", "delete", "export", "cancel"):
        raise InputError("This page is of an older version.", "Reload the page.")
    run = runs.find(run_id)
    if run.id != run_id:  # a button names the whole id
        raise runs.RunNotFound(f"The run {run_id} was deleted.", "Reload the page.")
    if what == "stop":
        runs.ask_to_stop(run)
        threading.Thread(target=_stop, args=[run], name=f"stop {run.id}", daemon=True).start()
    elif what == "resume":
        runs.resume(run)
    elif what == "export":
        export_jobs.launch(run, next((known for known in export_jobs.KINDS if known == kind), export_jobs.USUAL))
    elif what == "cancel":
        job = export_jobs.find(run, kind)
        export_jobs.ask_to_stop(job)
        threading.Thread(target=_stop, args=[job.run], name=f"stop {run.id} {kind}", daemon=True).start()
    else:
        for job in export_jobs.list_jobs(run):
            export_jobs.stop(job)
        runs.delete(run)


def _stop(run: Run) -> None:
    try:
        runs.stop(run)
    except EvenhandError as error:
        _log.warning("the run %s could not be stopped: %s", run.id, error)
    except Exception as error:  # noqa: BLE001 - nobody waits for this thread: the log has to know
        _log.exception("stopping the run %s failed", run.id, exc_info=error)


def _asked(here: str) -> tuple[str, list[str]]:
    asked: dict[str, list[Any]] = parse_qs((here or "")[:2000].removeprefix("#"))
    run_id = str(asked.get("run", [""])[0])
    compared = str(asked.get("with", [""])[0]).split(",")
    return run_id, list(dict.fromkeys(filter(None, compared)))
