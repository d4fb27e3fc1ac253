"""What is on disk about batches of requests: which were sent, which were fetched, and every answer that came."""

import json
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediator.atomic_file import sync_folder
from trainer.dataset.building.output import mend
from trainer.dataset.data import DatasetError, DatasetWriteError, append_lines


@dataclass(frozen=True)
class Answer:
    """What a model answered to one request. The tokens are the provider's count, those read from its cache included."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass
class Batch:
    """Requests that were sent together, or were about to be.

    Attributes:
        keys: of the requests.
        at: when the sending began, seconds since the epoch by this computer's clock.
        id: the provider's name for the batch; None where a kill came before it was on disk.
    """

    keys: tuple[str, ...]
    at: float
    id: str | None = None


class BatchJournal:
    """The folder beside an output that remembers batches and answers, written before anything is relied on.

    A batch is announced before it is sent and named as soon as the provider has named it, so that a kill in between
    leaves an announcement without a name: whoever goes on asks the provider whether the batch came into being.

    Attributes:
        answers: by the keys of their requests.
        batches: those that were not fetched yet, oldest first, by the names of their announcements.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is there. Raises `DatasetError` for a file that no journal wrote, `DatasetWriteError`."""
        self.folder = folder
        self.answers: dict[str, Answer] = {}
        self.batches: dict[str, Batch] = {}
        self._named: set[str] = set()
        try:
            for entry in self._read("answers.jsonl"):
                self.answers[entry["key"]] = Answer(entry["text"], entry["input_tokens"], entry["output_tokens"])
            for entry in self._read("batches.jsonl"):
                self._replay(entry)
        except OSError as error:
            raise _unusable(folder, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{folder} holds a line that is none of a build's.", "Move the folder away.") from error

    @property
    def unnamed(self) -> dict[str, Batch]:
        """The batches of which it is not known whether the provider has them."""
        return {name: batch for name, batch in self.batches.items() if batch.id is None}

    def is_known(self, batch: str) -> bool:
        """Whether the provider's name of a batch stands in the journal, fetched or not."""
        return batch in self._named

    def announce(self, keys: Iterable[str]) -> str:
        """Write down that these requests are about to be sent; returns the announcement's name."""
        name = secrets.token_hex(8)
        self._write({"announced": name, "keys": list(keys), "at": time.time()})
        return name

    def named(self, name: str, batch: str) -> None:
        """Write down the provider's name for an announced batch."""
        self._write({"announced": name, "batch": batch})

    def dropped(self, name: str) -> None:
        """Write down that an announced batch does not exist, or is not ours."""
        self._write({"dropped": name})

    def fetched(self, name: str, answers: dict[str, Answer]) -> None:
        """Keep a batch's answers, and write down that all is fetched."""
        new = {key: answer for key, answer in answers.items() if key not in self.answers}
        lines = [json.dumps({"key": key, **vars(answer)}, ensure_ascii=False) for key, answer in new.items()]
        if lines:
            self._append("answers.jsonl", lines)
        self.answers.update(new)
        self._write({"fetched": name})

    def remove(self) -> None:
        """Delete the folder: nothing in it is needed once the whole output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, entry: dict[str, Any]) -> None:
        self._append("batches.jsonl", [json.dumps(entry)])
        self._replay(entry)

    def _append(self, name: str, lines: list[str]) -> None:
        try:
            if not self.folder.is_dir():
                self.folder.mkdir()
                sync_folder(self.folder.parent)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        append_lines(self.folder / name, lines)

    def _replay(self, entry: dict[str, Any]) -> None:
        if "keys" in entry:
            self.batches[entry["announced"]] = Batch(tuple(entry["keys"]), float(entry["at"]))
        elif "batch" in entry:
            self.batches[entry["announced"]].id = entry["batch"]
            self._named.add(entry["batch"])
        else:
            self.batches.pop(entry["fetched"] if "fetched" in entry else entry["dropped"])

    def _read(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        mend(path)
        if not path.exists():
            return []
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]


def _unusable(folder: Path, error: OSError) -> DatasetWriteError:
    return DatasetWriteError(
        f"The folder {folder} cannot be used ({error.strerror or error}).", "Check its permissions and the disk."
    )
