"""Damaged GGUF files, field by field and from a seed, and the processes that each of them must not end."""

import json
import os
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes, by type of a value
_STRING, _ARRAY = 8, 9
_LENGTHS = (0, 1, 2, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1)
_NAMES = (
    b"",
    b"gpt2",
    b"bert",
    b"t5",
    b"mamba",
    b"rwkv",
    b"falcon",
    b"clip",
    b"plamo2",
    b"none",
    b"\xff\xfe",
    b"x" * 300,
)
_TEMPLATES = (b"{% for %}", b"{{ raise_exception('no') }}", b"{{ messages[99].content }}", b"{{ 1 / 0 }}", b"\xff\xfe")


class Place(NamedTuple):
    """Where something lies in the file, in bytes."""

    start: int
    end: int


@dataclass
class Layout:
    """Where the fields of a whole file lie. ``values`` holds (type, place of the value) by key."""

    pairs: dict[str, Place] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    values: dict[str, tuple[int, Place]] = field(default_factory=dict)
    arrays: list[int] = field(default_factory=list)
    tensors: dict[str, Place] = field(default_factory=dict)
    dimensions: dict[str, int] = field(default_factory=dict)
    header_end: int = 0


def layout_of(data: bytes) -> Layout:
    """Read where everything lies in a whole file."""
    found, at = Layout(), 24
    tensor_count, pair_count = struct.unpack_from("<QQ", data, 8)

    def string() -> bytes:
        nonlocal at
        found.lengths.append(at)
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8 + length
        return data[at - length : at]

    for _ in range(pair_count):
        start, key = at, string().decode()
        found.types.append(at)
        (kind,) = struct.unpack_from("<I", data, at)
        at += 4
        value = at
        if kind == _STRING:
            string()
        elif kind == _ARRAY:
            found.arrays.append(at)
            inner, count = struct.unpack_from("<IQ", data, at)
            at += 12
            if inner == _STRING:
                for _ in range(count):
                    (length,) = struct.unpack_from("<Q", data, at)
                    at += 8 + length
            else:
                at += _SCALARS[inner] * count
        else:
            at += _SCALARS[kind]
        found.pairs[key] = Place(start, at)
        found.values[key] = (kind, Place(value, at))
    for _ in range(tensor_count):
        start, name = at, string().decode()
        found.dimensions[name] = at
        (count,) = struct.unpack_from("<I", data, at)
        at += 4 + 8 * count + 4 + 8
        found.tensors[name] = Place(start, at)
    found.header_end = at
    return found


# -- one kind of damage each -----------------------------------------------------------------------------------------

Damage = Callable[[bytearray, Layout, random.Random], None]


def cut(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """End anywhere: in the header as often as in the weights, sometimes at the very end of a field."""
    borders = [place.end for place in (*layout.pairs.values(), *layout.tensors.values())]
    places = (chance.choice(borders), chance.randrange(layout.header_end), chance.randrange(len(data)))
    del data[chance.choice(places) :]


def flip(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Flip bits of the header, long arrays of tokens left aside every second time."""
    for _ in range(chance.choice((1, 1, 2, 8))):
        kind, place = chance.choice(list(layout.values.values()))
        table = Place(next(iter(layout.tensors.values())).start, layout.header_end)
        start, end = chance.choice((Place(4, layout.header_end), table, place if kind != _ARRAY else table))
        if end > start:
            data[chance.randrange(start, end)] ^= 1 << chance.randrange(8)


def type_of_value(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Call a value another type."""
    struct.pack_into("<I", data, chance.choice(layout.types), chance.choice((*range(14), 255, 1 << 31)))


def length_of_text(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Give a key, a text or a name another length."""
    _change(data, chance.choice(layout.lengths), chance)


def value(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Overwrite a number, or the text of a value without changing its length."""
    plain = [place for kind, place in layout.values.values() if kind not in (_STRING, _ARRAY)]
    texts = [Place(place.start + 8, place.end) for kind, place in layout.values.values() if kind == _STRING]
    start, end = chance.choice(plain if chance.random() < 0.8 else texts)
    filler = chance.choice((b"\0", b"\xff", b"\x7f", b"\x01", None))
    data[start:end] = filler * (end - start) if filler else chance.randbytes(end - start)


def text(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Put another text in the place of one: the name of another architecture, tokenizer, or a broken template."""
    keys = [key for key, (kind, _) in layout.values.items() if kind == _STRING]
    key = chance.choice(keys)
    words = chance.choice(_TEMPLATES if "template" in key else _NAMES)
    start, end = layout.values[key][1]
    data[start:end] = struct.pack("<Q", len(words)) + words


def array(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Change the type or the length of an array, or its content."""
    at = chance.choice(layout.arrays)
    match chance.randrange(3):
        case 0:
            struct.pack_into("<I", data, at, chance.choice((*range(14), 255)))
        case 1:
            _change(data, at + 4, chance)
        case _:
            end = next(place.end for _, place in layout.values.values() if place.start == at)
            start = chance.randrange(at + 12, end)
            size = min(chance.choice((1, 4, 8, 64, 4096)), end - start)
            data[start : start + size] = chance.choice((b"\0", b"\xff", b"\x7f")) * size


def tensor(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Change a line of the table of tensors: its name, dimensions, lengths, type or offset."""
    name = chance.choice(list(layout.tensors))
    at = layout.dimensions[name]
    (count,) = struct.unpack_from("<I", data, at)
    match chance.randrange(5):
        case 0:
            struct.pack_into("<I", data, at, chance.choice((0, 1, 2, 3, 4, 5, 255, (1 << 32) - 1)))
        case 1:
            _change(data, at + 4 + 8 * chance.randrange(count), chance)
        case 2:
            struct.pack_into("<I", data, at + 4 + 8 * count, chance.choice((*range(42), 255, 1 << 31)))
        case 3:
            place = at + 8 + 8 * count
            (offset,) = struct.unpack_from("<Q", data, place)
            other = chance.choice((offset + 1, offset + 32, offset ^ 64, 0, len(data), 1 << 62, (1 << 64) - 32))
            struct.pack_into("<Q", data, place, other & ((1 << 64) - 1))
        case _:
            start = layout.tensors[name].start + 8
            data[start + chance.randrange(at - start)] = chance.choice(b"a0.\x00\xff")


def leave_out(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Leave out a pair of the metadata, or a tensor; or have it twice. The counts fit."""
    places, at = (layout.pairs, 16) if chance.random() < 0.7 else (layout.tensors, 8)
    start, end = chance.choice(list(places.values()))
    (count,) = struct.unpack_from("<Q", data, at)
    twice = chance.random() < 0.2
    struct.pack_into("<Q", data, at, count + 1 if twice else count - 1)
    data[start:end] = bytes(data[start:end]) * (2 if twice else 0)


def count(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Change the version, or how many tensors or pairs there are."""
    if chance.random() < 0.3:
        struct.pack_into("<I", data, 4, chance.choice((0, 1, 2, 4, 1 << 24, (1 << 32) - 1)))
    else:
        _change(data, chance.choice((8, 16)), chance)


def weights(data: bytearray, layout: Layout, chance: random.Random) -> None:
    """Overwrite a part of the weights: with what is no number, with enormous ones, with zeros."""
    start = chance.randrange(layout.header_end, len(data))
    size = min(chance.choice((4, 4096, 65_536)), len(data) - start)
    data[start : start + size] = chance.choice((b"\xff", b"\x7f", b"\0")) * size


DAMAGES: tuple[Damage, ...] = (
    cut, flip, flip, type_of_value, length_of_text, value, value, text, array, tensor, tensor, leave_out,
    count, weights,
)  # fmt: skip


def _change(data: bytearray, at: int, chance: random.Random) -> None:
    """Change a length or a count of eight bytes a little, or beyond all measure."""
    (now,) = struct.unpack_from("<Q", data, at)
    other = chance.choice((now + 1, max(0, now - 1), now * 2, now + 32, *_LENGTHS))
    struct.pack_into("<Q", data, at, other & ((1 << 64) - 1))


# -- files -----------------------------------------------------------------------------------------------------------


def damaged(source: Path, folder: Path, number: int, seed: str) -> list[Path]:
    """Write ``number`` damaged copies of a whole file; the name of each says what was done to it."""
    whole, chance, written = source.read_bytes(), random.Random(seed), []
    layout = layout_of(whole)
    for index in range(number):
        damage = DAMAGES[index % len(DAMAGES)]
        data = bytearray(whole)
        damage(data, layout, chance)
        path = folder / f"{source.stem}-{index:04}-{damage.__name__}.gguf"
        path.write_bytes(data)
        written.append(path)
    return written


def foreign(folder: Path, whole: Path) -> list[Path]:
    """Make files that are something else, and things that are no files."""
    import socket

    contents = {
        "empty": b"", "magic": b"GGUF", "zeros": bytes(4096), "html": b"<html>404</html>",
        "pdf": b"%PDF-1.7\n%\xe2\xe3",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(64), "text": "Zwölf Boxkämpfer".encode(),
        "ggjt": b"tjgg\x01\0\0\0" + bytes(64),
        "big-endian": b"FUGG" + bytes(64), "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "safetensors": struct.pack("<Q", 2) + b"{}", "pickle": b"\x80\x02}q\0.",
        "nothing-in-it": b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "all-ones": b"GGUF" + b"\xff" * 4096,
    }  # fmt: skip
    made = []
    for name, content in contents.items():
        made.append(folder / f"foreign-{name}.gguf")
        made[-1].write_bytes(content)
    made.append(folder / "foreign-zip.gguf")
    with zipfile.ZipFile(made[-1], "w") as file:
        file.writestr("data.pkl", b"")
    names = ("directory", "fifo", "socket", "broken-link", "loop", "no-permission")
    made += [folder / f"foreign-{name}.gguf" for name in names]
    directory, fifo, door, broken, loop, secret = made[-6:]
    directory.mkdir()
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket may have 107 bytes
        try:
            listener.bind(door.name)
        finally:
            os.chdir(here)
    broken.symlink_to(folder / "nowhere")
    loop.symlink_to(loop)
    secret.write_bytes(whole.read_bytes())
    secret.chmod(0)
    return [*made, Path("/dev/null"), Path("/dev/zero")]


# -- what becomes of them --------------------------------------------------------------------------------------------

_TRY_EACH = """
import json, sys
from mediator.cancellation import Cancellation
from mediator.errors import EvenhandError
from mediator.models import load_writer
from mediator.schema import Dispute, Strategy, View
from mediator.writers.base import Brief
from mediator.writers.gguf import GGUFModel
from mediator.writers.aligned import AlignedWriter
from mediator.writers.language_model import LanguageModelWriter
from mediator.encoders import load_encoder

class Short(GGUFModel):
    def __init__(self, path):
        super().__init__(path, threads=1)
    def stream(self, prompt, sampling, cancel):
        for number, piece in enumerate(super().stream(prompt, sampling, cancel)):
            yield piece
            if number == 2:
                return

import mediator.writers.gguf
mediator.writers.gguf.GGUFModel = Short
dispute = Dispute(view_a=View(text="The park, côté sud"), view_b=View(text="No."))
for line in sys.stdin:
    path, told = line.rstrip("\\n"), []
    for load in ("writer", "encoder") if "bert" in path else ("writer",):
        outcome, said = "ran", ""
        try:
            if load == "encoder":
                encoder = load_encoder(path)
                encoder.encode(["The park."])
                encoder.close()
            else:
                writer = load_writer("gguf:" + path, None)
                try:
                    list(writer.write(Brief(dispute, Strategy.SINGLE, count=1), Cancellation()))
                finally:
                    writer.close()
        except EvenhandError as error:
            outcome, said = type(error).__name__, error.message
            if "\\n" in said or not said.strip():
                outcome = "NO SENTENCE"
        except Exception as error:
            outcome, said = "FAULT", repr(error)
        told.append((outcome, " ".join(said.split())))
        print("tried", load, flush=True)
    print("told " + json.dumps(told), flush=True)
"""


class Outcome(NamedTuple):
    """What became of a file: ``ran``, the name of the error with its sentence, ``CRASHED`` or ``HUNG``."""

    path: Path
    kind: str
    said: str


def outcomes(paths: Sequence[Path], workers: int = 1, patience: float = 120.0) -> list[Outcome]:
    """Give each file to the app as ``gguf:PATH`` in processes of their own, and say what became of it.

    A process serves many files; one that dies or hangs over a file is replaced for those that are left.
    """
    shares = [paths[start::workers] for start in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        return sorted(one for found in pool.map(lambda share: list(_served(share, patience)), shares) for one in found)


def _served(paths: Sequence[Path], patience: float) -> Iterator[Outcome]:
    import queue
    import threading

    left = list(paths)
    while left:
        process = subprocess.Popen(
            [sys.executable, "-c", _TRY_EACH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env=os.environ | {"GGML_NO_BACKTRACE": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        output, complaints = process.stdout, process.stderr

        def pump(output=output, lines=lines) -> None:
            for line in output:
                lines.put(line)
            lines.put("")

        last: list[str] = []
        threading.Thread(target=pump, daemon=True).start()
        listener = threading.Thread(target=lambda c=complaints, last=last: last.append(c.read()[-300:]), daemon=True)
        listener.start()
        while left:
            path = left.pop(0)
            try:
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
                while (line := lines.get(timeout=patience)) and not line.startswith("told "):
                    pass  # what a library says
            except queue.Empty:
                process.kill()
                yield Outcome(path, "HUNG", "")
                break
            except OSError:
                line = ""
            if not line.endswith("\n"):
                process.wait()
                listener.join(10)
                yield Outcome(path, "CRASHED", f"exit {process.returncode}: {' '.join(''.join(last).split())}")
                break
            told = json.loads(line.removeprefix("told "))
            # Of an encoder's file both ways are tried; the odd one is told.
            yield Outcome(path, *next((one for one in told if one[0] not in ("ran", "ModelFileError")), told[-1]))
        process.stdin.close()
        process.wait()
