"""The losses: numbers derived by hand, gradients against differences, and TRL's own losses for the same numbers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.losses import dpo, nca, nca_pair, nce, response_log_probabilities, score, task_margin
from trainer.models.likelihood import head_log_probabilities

torch.set_num_threads(1)


def _tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _leaf(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def _gradients(loss: Tensor, *inputs: Tensor) -> list[list[float]]:
    return [gradient.tolist() for gradient in torch.autograd.grad(loss, inputs)]


def test_nce_is_eq_1() -> None:
    # sigma(log 3) = 3/4, and with s_hypo = -log 4, sigma(-s_hypo) = 4/5: the first pair costs log 4/3 + log 5/4.
    # The second pair is at 0 and costs 2 log 2.
    loss = nce(_tensor(math.log(3), 0.0), _tensor(-math.log(4), 0.0))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(5 / 4) + 2 * math.log(2)) / 2, abs=1e-12)


def test_the_second_term_of_eq_1_has_no_gradient_on_raw_sums_and_has_one_on_means_and_ratios() -> None:
    # A response of 50 tokens at 2 nats each; d/ds -log sigma(-s) = sigma(s).
    sums, counts = _tensor(-100.0, -100.0).float(), torch.tensor([50, 50])
    found = {}
    for kind in ("sum", "mean", "log_ratio"):
        leaf = sums.clone().requires_grad_()
        scores = score(leaf, counts, kind, start_sums=sums)  # type: ignore[arg-type]
        target, hypothesis = _gradients(nce(scores[:1], scores[1:]), leaf)[0]
        found[kind] = (target, hypothesis)
    # sum: the target is pushed up with full force; the hypothesis by e^-100, invisible beside it in float32.
    assert found["sum"][0] == -1.0
    assert found["sum"][1] == pytest.approx(math.exp(-100), rel=1e-4)
    assert torch.tensor(1.0) + torch.tensor(found["sum"][1]) == 1.0
    # mean: sigma(-2) = 0.1192, divided by the 50 tokens; the target's is sigma(2) of that.
    assert found["mean"][1] == pytest.approx(1 / (1 + math.exp(2)) / 50, rel=1e-5)
    assert found["mean"][0] == pytest.approx(-1 / (1 + math.exp(-2)) / 50, rel=1e-5)
    # log_ratio: both ratios are 0 at the start, and both terms push with half force.
    assert found["log_ratio"] == (-0.5, 0.5)


def test_the_task_loss_raises_the_target_until_it_leads_by_the_margin() -> None:
    target, hypothesis = _leaf(-100.0, -90.0, -100.0), _leaf(-98.0, -100.0, -96.0)
    rouge_target, rouge_hypothesis = torch.ones(3), torch.tensor([0.4, 0.1, 0.9])
    loss = task_margin(target, hypothesis, rouge_target, rouge_hypothesis, weight=10)
    # margins 6, 9, 1; leads of the target -2, 10, -4: short by 8, nothing, 5.
    assert loss.item() == pytest.approx((8 + 0 + 5) / 3, rel=1e-5)
    of_target, of_hypothesis = _gradients(loss, target, hypothesis)
    third = pytest.approx(1 / 3)
    assert [-value for value in of_target] == [third, 0, third]  # going down the gradient raises the target
    assert of_hypothesis == [third, 0, third]


def test_dpo_is_log_sigmoid_of_the_scaled_difference() -> None:
    # beta 0.5, difference 2 log 3: sigma(log 3) = 3/4.
    ratio = _leaf(math.log(9), dtype=torch.float64), _leaf(0.0, dtype=torch.float64)
    loss = dpo(*ratio, beta=0.5)
    assert loss.item() == pytest.approx(math.log(4 / 3), abs=1e-12)
    assert _gradients(loss, *ratio) == [[pytest.approx(-0.125)], [pytest.approx(0.125)]]  # beta (1 - 3/4)


def test_pairwise_nca_holds_the_target_at_log_2() -> None:
    # beta r_target = log 2: sigma = 2/3; beta r_hypothesis = -log 3: sigma(log 3) = 3/4.
    target, hypothesis = _leaf(10 * math.log(2), dtype=torch.float64), _leaf(-10 * math.log(3), dtype=torch.float64)
    loss = nca_pair(target, hypothesis, beta=0.1)
    by_hand = -math.log(2 / 3) - 0.5 * math.log(1 / 3) - 0.5 * math.log(3 / 4)
    assert loss.item() == pytest.approx(by_hand, abs=1e-12)
    of_target, of_hypothesis = _gradients(loss, target, hypothesis)
    assert of_target == [pytest.approx(0.0, abs=1e-12)]
    assert of_hypothesis == [pytest.approx(0.1 * 0.5 / 4)]


def test_nca_of_three_texts_by_hand() -> None:
    # beta 1; sigma of the ratios: 3/4, 1/2, 1/4. Rewards log 1, log 2, log 5 at alpha 1: weights 1/8, 2/8, 5/8.
    ratios = torch.tensor([[math.log(3), 0.0, -math.log(3)]], dtype=torch.float64)
    rewards = torch.tensor([[0.0, math.log(2), math.log(5)]], dtype=torch.float64)
    positive = math.log(3 / 4) / 8 + math.log(1 / 2) * 2 / 8 + math.log(1 / 4) * 5 / 8
    negative = (math.log(1 / 4) + math.log(1 / 2) + math.log(3 / 4)) / 3
    assert nca(ratios, rewards, beta=1, alpha=1).item() == pytest.approx(-positive - negative, abs=1e-12)


def test_nca_of_two_texts_is_pairwise_nca_where_the_reward_decides() -> None:
    torch.manual_seed(0)
    ratios = torch.randn(6, 2, dtype=torch.float64) * 5
    rewards = torch.tensor([[1.0, 0.0]] * 6, dtype=torch.float64)
    pair = nca_pair(ratios[:, 0], ratios[:, 1], beta=0.1).item()
    assert nca(ratios, rewards, beta=0.1, alpha=0).item() == pytest.approx(pair, abs=1e-12)
    assert nca(ratios, rewards, beta=0.1, alpha=0.02).item() == pytest.approx(pair, abs=1e-9)
    assert nca(ratios, rewards, beta=0.1, alpha=5).item() != pytest.approx(pair, abs=1e-3)
    # Equals share: both of a tie weigh 1/2, whatever the order.
    tie = torch.ones(6, 2, dtype=torch.float64)
    assert nca(ratios, tie, 0.1, 0).item() == pytest.approx(nca(ratios.flip(1), tie, 0.1, 0).item(), abs=1e-12)


@pytest.mark.parametrize("name", ["nce", "task_margin", "dpo", "nca_pair", "nca"])
def test_every_gradient_is_that_of_the_differences(name: str) -> None:
    torch.manual_seed(1)
    pairs = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    rouge = torch.rand(5, dtype=torch.float64)
    rewards = torch.rand(5, 3, dtype=torch.float64)
    losses: dict[str, Any] = {
        "nce": lambda both: nce(both[0], both[1]),
        "task_margin": lambda both: task_margin(both[0], both[1], torch.ones_like(rouge), rouge, 2.0),
        "dpo": lambda both: dpo(both[0], both[1], 0.3),
        "nca_pair": lambda both: nca_pair(both[0], both[1], 0.3),
        "nca": lambda both: nca(torch.stack([both[0], both[1], both[0] * both[1]], dim=1), rewards, 0.3, 0.5),
    }
    assert torch.autograd.gradcheck(losses[name], (pairs,))


def test_no_gradient_flows_into_the_start_and_a_text_without_tokens_scores_0() -> None:
    start = _leaf(-5.0)
    sums = _leaf(-4.0)
    score(sums, torch.tensor([2]), "log_ratio", start_sums=start).sum().backward()
    assert start.grad is None
    assert sums.grad is not None
    assert score(torch.zeros(1), torch.zeros(1), "mean").item() == 0.0


def test_what_would_broadcast_is_refused() -> None:
    column = torch.zeros(3, 1)
    for call in (
        lambda: nce(torch.zeros(3), column),
        lambda: dpo(torch.zeros(3), column, 0.1),
        lambda: nca_pair(torch.zeros(3), column, 0.1),
        lambda: nca(torch.zeros(3, 2), column, 0.1, 1.0),
        lambda: task_margin(torch.zeros(3), torch.zeros(3), torch.ones(1), torch.ones(3), 1.0),
        lambda: score(torch.zeros(3), torch.ones(1), "mean"),
    ):
        with pytest.raises(ValueError, match="shapes must be equal"):
            call()
    with pytest.raises(ValueError, match="needs start_sums"):
        score(torch.zeros(3), torch.ones(3), "log_ratio")
    with pytest.raises(ValueError, match="not one of sum, mean, log_ratio"):
        score(torch.zeros(3), torch.ones(3), "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be negative"):
        nca(torch.zeros(3, 2), torch.zeros(3, 2), 0.1, -1.0)


def _batch(dtype: torch.dtype = torch.float32, vocabulary: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    logits = (torch.randn(3, 9, vocabulary) * 4).to(dtype)
    tokens = torch.randint(0, vocabulary, (3, 9))
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[0, 4:9] = True
    mask[1, 0:2] = True  # the first token has nothing that predicts it
    return logits, tokens, mask


def _naive(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    found = torch.log_softmax(logits.float(), dim=-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    return (found * mask[:, 1:]).sum(dim=1)


def test_log_probabilities_by_hand() -> None:
    # Two tokens; the logits at position t - 1 predict token t: odds of 3 to 1 for token 0, then even.
    logits = torch.tensor([[[math.log(3), 0.0], [0.0, 0.0], [99.0, 0.0]]])
    tokens = torch.tensor([[1, 0, 1]])
    sums, counts = response_log_probabilities(logits, tokens, torch.tensor([[False, True, True]]))
    assert sums.item() == pytest.approx(math.log(3 / 4) + math.log(1 / 2), abs=1e-6)
    assert counts.tolist() == [2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 4, None])
def test_log_probabilities_are_those_of_a_whole_log_softmax(dtype: torch.dtype, rows: int | None) -> None:
    logits, tokens, mask = _batch(dtype)
    logits.requires_grad_()
    weights = torch.tensor([0.3, -2.0, 5.0])
    sums, counts = response_log_probabilities(logits, tokens, mask, chunk_rows=rows)
    naive = _naive(logits, tokens, mask)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums, naive, rtol=1e-5, atol=1e-5)
    assert counts.tolist() == [5, 1, 0]
    (ours,) = torch.autograd.grad((sums * weights).sum(), logits)
    (theirs,) = torch.autograd.grad((naive * weights).sum(), logits)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-2 if dtype == torch.bfloat16 else 1e-3, atol=1e-5)
    assert torch.equal(ours.float().abs().sum(dim=2) > 0, torch.nn.functional.pad(mask[:, 1:], (0, 1)))


def test_log_probabilities_pass_the_check_of_gradients() -> None:
    logits, tokens, mask = _batch(torch.float64, vocabulary=5)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: response_log_probabilities(x, tokens, mask, chunk_rows=2)[0], (logits,))


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("rows", [2, None])
def test_projecting_only_the_response_changes_nothing(learns: bool, rows: int | None) -> None:
    torch.manual_seed(3)
    head = torch.nn.Linear(8, 50, bias=True).requires_grad_(learns)
    _, tokens, mask = _batch()
    hidden = torch.randn(3, 9, 8, requires_grad=True)
    inputs = [hidden, *(head.parameters() if learns else ())]
    weights = torch.tensor([0.3, -2.0, 5.0])
    sums, counts = head_log_probabilities(hidden, head, tokens, mask, chunk_rows=rows)
    whole, whole_counts = response_log_probabilities(head(hidden), tokens, mask)
    torch.testing.assert_close(sums, whole, rtol=1e-5, atol=1e-5)
    assert torch.equal(counts, whole_counts)
    ours = torch.autograd.grad((sums * weights).sum(), inputs)
    theirs = torch.autograd.grad((whole * weights).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(head_log_probabilities(hidden, head, tokens, mask)[1], counts)


def test_a_batch_without_any_response_is_0_and_can_be_differentiated() -> None:
    logits, tokens, mask = _batch()
    logits.requires_grad_()
    nothing = torch.zeros_like(mask)
    sums, counts = response_log_probabilities(logits, tokens, nothing)
    sums.sum().backward()
    assert sums.tolist() == [0, 0, 0]
    assert counts.tolist() == [0, 0, 0]
    assert logits.grad is not None
    assert logits.grad.abs().sum().item() == 0
    hidden = torch.randn(3, 9, 8, requires_grad=True)
    for learns in (False, True):
        head = torch.nn.Linear(8, 50).requires_grad_(learns)
        assert head_log_probabilities(hidden, head, tokens, nothing)[0].tolist() == [0, 0, 0]


def test_shapes_that_do_not_go_together_are_named() -> None:
    logits, tokens, mask = _batch()
    with pytest.raises(ValueError, match=r"\(3, 9, 50\).*\(3, 8\)"):
        response_log_probabilities(logits, tokens[:, 1:], mask)
    with pytest.raises(ValueError, match="must be bool"):
        response_log_probabilities(logits, tokens, mask.long())


class _Saved:
    """Counts the bytes that autograd keeps for the backward pass, without those of the inputs."""

    def __init__(self, *inputs: Tensor) -> None:
        self.bytes = 0
        self._known = {tensor.data_ptr() for tensor in inputs}

    def keep(self, tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in self._known:
            self._known.add(tensor.data_ptr())
            self.bytes += tensor.numel() * tensor.element_size()
        return tensor


def test_what_is_kept_for_the_backward_pass_is_small() -> None:
    torch.manual_seed(4)
    vocabulary, width = 4000, 16
    logits = torch.randn(2, 64, vocabulary, dtype=torch.bfloat16, requires_grad=True)
    hidden = torch.randn(2, 64, width, dtype=torch.bfloat16, requires_grad=True)
    head = torch.nn.Linear(width, vocabulary, bias=False, dtype=torch.bfloat16)
    tokens = torch.randint(0, vocabulary, (2, 64))
    mask = torch.arange(64).expand(2, 64) >= 32
    full = logits.numel() * logits.element_size()

    def kept(compute: Any) -> int:
        saved = _Saved(logits, hidden, head.weight)
        with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
            compute()
        return saved.bytes

    assert kept(lambda: _naive(logits, tokens, mask)) > full  # the check can fail: the plain way keeps a float32 copy
    assert kept(lambda: response_log_probabilities(logits, tokens, mask, chunk_rows=8)) < full / 100
    for learns in (False, True):
        head.requires_grad_(learns)
        assert kept(lambda: head_log_probabilities(hidden, head, tokens, mask, chunk_rows=8)) < full / 100


# ---- TRL ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny Llama, its frozen start, and prompts with two answers each."""
    pytest.importorskip("trl")
    from support.tiny_models import tiny_checkpoint
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = tiny_checkpoint(tmp_path_factory.mktemp("trl") / "llama", width=32)
    rows = [
        {"prompt": "The park is open.", "chosen": " A trial for three months.", "rejected": " Close it."},
        {
            "prompt": "The library closes.",
            "chosen": " Longer hours and warm light.",
            "rejected": " The keys and the cost.",
        },
        {
            "prompt": "Patrol at night?",
            "chosen": " Volunteers and the city share.",
            "rejected": " No police is there now.",
        },
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder)
    start = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():  # ratios that differ from 0
        torch.manual_seed(5)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model, start, tokenizer, rows


@pytest.mark.parametrize(("kind", "beta"), [("sigmoid", 0.1), ("sigmoid", 1.5), ("nca_pair", 0.1), ("nca_pair", 1.5)])
def test_our_losses_are_those_of_trl(pairs: Any, kind: str, beta: float, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, start, tokenizer, rows = pairs
    trainer = DPOTrainer(
        model=model,
        ref_model=start,
        args=DPOConfig(
            output_dir=str(tmp_path),
            loss_type=[kind],
            beta=beta,
            report_to=[],
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=len(rows),
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.model.eval()  # so that TRL counts it as an evaluation, and there is no dropout
    batch = next(iter(trainer.get_eval_dataloader(trainer.train_dataset)))
    theirs = trainer.compute_loss(trainer.model, dict(batch))
    tokens, mask = batch["input_ids"], batch["completion_mask"].bool()
    with torch.no_grad():
        before = response_log_probabilities(
            start(input_ids=tokens, attention_mask=batch["attention_mask"]).logits, tokens, mask
        )[0]
    after = response_log_probabilities(
        model(input_ids=tokens, attention_mask=batch["attention_mask"]).logits, tokens, mask
    )[0]
    target, hypothesis = (after - before).chunk(2)
    assert (after - before).abs().min().item() > 0.01  # the comparison is of something
    ours = {"sigmoid": dpo, "nca_pair": nca_pair}[kind](target, hypothesis, beta)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    if kind == "nca_pair":
        ratios = torch.stack([target, hypothesis], dim=1)
        rewards = torch.tensor([[1.0, 0.0]]).expand_as(ratios)
        assert nca(ratios, rewards, beta, alpha=0).item() == pytest.approx(theirs.item(), rel=1e-5)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for one, other in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
