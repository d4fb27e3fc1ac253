"""Runs of training as they lie on the disk, in any state, without a process: for tests of those who look at them."""

import json
import time

from trainer.alignment.config import make_config
from trainer.runs import runs
from trainer.runs.folder import RunFolder, Status, append_line, write_json
from trainer.runs.processes import name_of


def stored_run(name, recipe="sft", state="done", metrics=(), samples=(), log="", result=False, settings=None, **status):
    """Write the folder of a run as a run writes it, and return it as `trainer.runs.runs` reads it.

    Args:
        name: of the folder, the run's id.
        recipe: its recipe.
        state: what its status says; one that lives has this process.
        metrics: lines of metrics.jsonl, each with ``step``.
        samples: lines of samples.jsonl.
        log: content of log.txt.
        result: whether there is a model, of which only config.json.
        settings: that differ from the recipe's defaults.
        status: further fields of status.json; ``created`` goes to config.json.
    """
    folder = RunFolder(runs.runs_folder() / name)
    folder.path.mkdir(parents=True)
    created = status.pop("created", time.time())
    config = make_config(recipe, {"model": "/models/tiny-llama", "dataset": "/data/train.jsonl", **(settings or {})})
    write_json(
        folder.config, {"recipe": recipe, "settings": config.model_dump(mode="json"), "created": created, "gpus": 1}
    )
    process = name_of().model_dump() if state in ("starting", "running", "stopping") else {}
    folder.write_status(Status(**process | {"state": state, "updated": created + 60.0} | status))
    for line in metrics:
        append_line(folder.metrics, {"steps": 100, "epoch": 1.0, "time": created, **line})
    for line in samples:
        append_line(folder.samples, line)
    if log:
        folder.log.write_text(log, encoding="utf-8")
    if result:
        folder.model.mkdir()
        (folder.model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return runs.find(str(folder.path))


def dead_process():
    """The name of a process that is gone, as fields of a status."""
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-c", ""])
    named = name_of(process.pid)
    process.wait()
    return named.model_dump()
