"""The losses as pure functions on tensors: the paper's two, DPO, noise contrastive alignment, votes, and calibration.

All logarithms are natural: scores, ratios, margins and losses are in nats. Every loss is the mean over its batch, a
scalar that can be differentiated. What the scores are made of is in `trainer.models.likelihood`.

References:
    Generating Compromises Between Two Points of View ("the paper"): eq. 1 (noise contrast), eq. 2 (task-based).
    Rafailov et al. 2023, Direct Preference Optimization, arXiv 2305.18290: eq. 7.
    Chen et al. 2024, Noise Contrastive Alignment of Language Models with Explicit Rewards, arXiv 2402.05369: section 4.
    Wang et al. 2023, Aligning Language Models with Human Preferences via a Bayesian Approach ("d-PM"), arXiv
    2310.05782: eq. 6 (votes), eq. 8 and 9 (calibration).
    Rolf et al. 2022, Resolving Label Uncertainty with Implicit Posterior Models, arXiv 2202.14000: both directions.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, relu

from trainer.models.likelihood import response_log_probabilities

__all__ = [
    "Direction", "ScoreKind", "calibration", "dpm", "dpm_targets", "dpo", "major", "nca", "nca_pair", "nce",
    "no_aggregation", "response_log_probabilities", "score", "soft", "task_margin", "vote_prior",
]  # fmt: skip

ScoreKind = Literal["sum", "mean", "log_ratio"]

Direction = Literal["q_r", "r_q"]
"""Which divergence d-PM makes small: KL(q || r), its eq. 6, or KL(r || q), what its authors' code computes."""


def score(sums: Tensor, counts: Tensor, kind: ScoreKind, start_sums: Tensor | None = None) -> Tensor:
    """Return what stands for a text in a loss: the s of the paper's eq. 1 and eq. 2.

    Args:
        sums: (B,) log-probability of each response, nats, <= 0.
        counts: (B,) its tokens, whole numbers.
        kind: ``sum`` is the log-probability, as the paper prints it: about -100 for a sentence or two. ``mean`` is that
            for each token, about -2. ``log_ratio`` is the change since the start of training, ``sums - start_sums``,
            0 at the first step, as in noise contrastive alignment.
        start_sums: (B,) what ``sums`` was before training; needed for ``log_ratio`` only. No gradient flows into it.

    Returns:
        (B,) nats; for ``mean``, nats for each token. A response without tokens scores 0.

    Raises:
        ValueError: the shapes differ, an unknown kind, or ``log_ratio`` without ``start_sums``.
    """
    _same_shape(sums=sums, counts=counts)
    if kind == "sum":
        return sums
    if kind == "mean":
        return sums / counts.clamp(min=1).to(sums.dtype)
    if kind == "log_ratio":
        if start_sums is None:
            raise ValueError("score: log_ratio needs start_sums, the log-probabilities before training")
        _same_shape(sums=sums, start_sums=start_sums)
        return sums - start_sums.detach()
    raise ValueError(f"score: {kind!r} is not one of sum, mean, log_ratio")


def nce(target: Tensor, hypothesis: Tensor) -> Tensor:
    """Noise-contrastive loss, the paper's eq. 1: L = -log sigma(s_target) - log sigma(-s_hypothesis).

    A trap: the gradient with respect to s_hypothesis is sigma(s_hypothesis). With raw sums of log-probabilities, about
    -100, that is e^-100, which is 0 in float32 beside the other term; and sigma(-s_target) is 1. What remains is plain
    likelihood of the target. With ``mean`` (about -2) and ``log_ratio`` (about 0) both terms push.

    Args:
        target: (B,) scores of the texts to be made likelier.
        hypothesis: (B,) scores of the model's own outputs, to be made less likely.

    Returns:
        The mean over B, >= 0. It is 2 log 2 where both scores are 0.
    """
    _same_shape(target=target, hypothesis=hypothesis)
    return (-logsigmoid(target) - logsigmoid(-hypothesis)).mean()


def task_margin(
    target: Tensor, hypothesis: Tensor, rouge_target: Tensor, rouge_hypothesis: Tensor, weight: float
) -> Tensor:
    """Task-based loss, the paper's eq. 2 in the form that raises the target.

    The paper prints max(0, s_target - s_hypothesis + |rouge_target - rouge_hypothesis| w). That lowers s_target, so it
    is right only if s is an energy, -log p. Scores here are log-probabilities, higher is likelier, so this is
    max(0, s_hypothesis - s_target + |rouge_target - rouge_hypothesis| w): the target shall lead by the margin.

    The margin is in the unit of the scores: with w = 10 it is up to 10 nats, which is a small lead for sums and out of
    reach for means, where two texts seldom differ by more than 2.

    Args:
        target: (B,) scores of the targets.
        hypothesis: (B,) scores of the model's own outputs.
        rouge_target: (B,) overlap of the target with the references, 0..1; 1 where it is one of them.
        rouge_hypothesis: (B,) overlap of the output with the references, 0..1.
        weight: w, units of score for one unit of ROUGE; the paper's is 10.

    Returns:
        The mean over B, >= 0. A pair that keeps its margin adds nothing and has no gradient.
    """
    _same_shape(target=target, hypothesis=hypothesis, rouge_target=rouge_target, rouge_hypothesis=rouge_hypothesis)
    margin = (rouge_target - rouge_hypothesis).abs() * weight
    return relu(hypothesis - target + margin).mean()


def dpo(target_ratio: Tensor, hypothesis_ratio: Tensor, beta: float) -> Tensor:
    """Direct preference optimisation (Rafailov et al. 2023, eq. 7): -log sigma(beta (target - hypothesis)).

    Only the difference counts: the loss can fall while the target becomes less likely too.

    Args:
        target_ratio: (B,) log-probability of the target minus that of the reference model, nats.
        hypothesis_ratio: (B,) the same for the rejected text.
        beta: how strongly the reference holds the model back, > 0.

    Returns:
        The mean over B, > 0. It is log 2 where both ratios are 0.
    """
    _same_shape(target_ratio=target_ratio, hypothesis_ratio=hypothesis_ratio)
    return -logsigmoid(beta * (target_ratio - hypothesis_ratio)).mean()


def nca_pair(target_ratio: Tensor, hypothesis_ratio: Tensor, beta: float) -> Tensor:
    """Pairwise noise contrastive alignment (Chen et al. 2024, section 4): absolute, not relative, likelihood.

    L = -log sigma(r_target) - 1/2 log sigma(-r_target) - 1/2 log sigma(-r_hypothesis), r = beta * ratio. The second
    term holds the target's ratio at a finite best value: alone, the target's two terms are least at r = log 2.

    Args:
        target_ratio: (B,) log-probability of the target minus that of the reference model, nats.
        hypothesis_ratio: (B,) the same for the rejected text.
        beta: how strongly the reference holds the model back, > 0.

    Returns:
        The mean over B, > 0. It is 2 log 2 where both ratios are 0.
    """
    _same_shape(target_ratio=target_ratio, hypothesis_ratio=hypothesis_ratio)
    target, hypothesis = beta * target_ratio, beta * hypothesis_ratio
    return (-logsigmoid(target) - 0.5 * logsigmoid(-target) - 0.5 * logsigmoid(-hypothesis)).mean()


def nca(ratios: Tensor, rewards: Tensor, beta: float, alpha: float) -> Tensor:
    """K-way noise contrastive alignment with explicit rewards (Chen et al. 2024, section 4).

    L = -sum_i [ w_i log sigma(r_i) + 1/K log sigma(-r_i) ], with w = softmax(rewards / alpha) over the K texts of one
    prompt and r = beta * ratio. With K = 2 and alpha towards 0 it is `nca_pair`.

    Args:
        ratios: (B, K) log-probability of each text minus that of the reference model, nats.
        rewards: (B, K) how good each text is, in any unit; higher is better.
        beta: how strongly the reference holds the model back, > 0.
        alpha: the temperature of the rewards, in their unit; 0 gives all weight to the best (shared by equals).

    Returns:
        The mean over B, > 0. It is 2 log 2 where all ratios are 0.

    Raises:
        ValueError: the shapes differ or are not (B, K), or alpha is negative.
    """
    _same_shape(ratios=ratios, rewards=rewards)
    if ratios.dim() != 2:
        raise ValueError(f"nca: ratios must be (B, K), and their shape is {tuple(ratios.shape)}")
    if alpha < 0:
        raise ValueError(f"nca: alpha is {alpha}, and a temperature cannot be negative")
    rewards = rewards.detach().to(ratios.dtype)
    if alpha == 0:
        best = (rewards == rewards.max(dim=1, keepdim=True).values).to(ratios.dtype)
        weights = best / best.sum(dim=1, keepdim=True)
    else:
        weights = torch.softmax(rewards / alpha, dim=1)
    scaled = beta * ratios
    return -(weights * logsigmoid(scaled) + logsigmoid(-scaled) / ratios.shape[1]).sum(dim=1).mean()


# -- votes -------------------------------------------------------------------------------------------------------------


def vote_prior(votes: Tensor, smoothing: float = 0.1) -> Tensor:
    """Return the smoothed shares of the votes, d-PM's prior p: (count + 0.1), normalised.

    Args:
        votes: (B, C) how many voted for each class, >= 0.
        smoothing: added to each count, > 0, so that no class is impossible after a few votes.

    Returns:
        (B, C) shares, > 0, each row sums to 1.

    Raises:
        ValueError: the smoothing is not above 0.
    """
    if smoothing <= 0:
        raise ValueError(f"vote_prior: smoothing is {smoothing}, and it must be above 0")
    raised = votes + smoothing
    return raised / raised.sum(dim=1, keepdim=True)


def dpm_targets(log_q: Tensor, prior: Tensor) -> Tensor:
    """Return log r, where r_i is proportional to p_i * q_i / sum_j q_j and each row sums to 1 (d-PM, before eq. 6).

    q_i / sum_j q_j is how much of a class's whole probability in the batch falls to statement i: it takes the place of
    the likelihood of the statement, and makes r depend on the batch.

    Args:
        log_q: (B, C) log-probabilities of the model.
        prior: (B, C) of `vote_prior`.

    Returns:
        (B, C) log r. Gradients flow through it into ``log_q``.
    """
    _same_shape(log_q=log_q, prior=prior)
    return log_softmax(prior.log() + log_q - log_q.logsumexp(dim=0, keepdim=True), dim=1)


def dpm(logits: Tensor, prior: Tensor, direction: Direction = "r_q") -> Tensor:
    """The free-energy loss of d-PM: the divergence between the model q and the posterior r of `dpm_targets`.

    KL(q || r) is eq. 6 as printed: log q cancels in it, up to the batch's sums, so that it rewards a q that puts all on
    the likeliest class. KL(r || q) is what the authors' code computes. The gradient flows through r in both, as there.

    Args:
        logits: (B, C) of the model; softmax makes q of them.
        prior: (B, C) of `vote_prior`.
        direction: ``q_r`` or ``r_q``.

    Returns:
        The mean over B, >= 0.

    Raises:
        ValueError: the shapes differ, or an unknown direction.
    """
    _same_shape(logits=logits, prior=prior)
    log_q = log_softmax(logits, dim=1)
    log_r = dpm_targets(log_q, prior)
    if direction == "q_r":
        return (log_q.exp() * (log_q - log_r)).sum(dim=1).mean()
    if direction == "r_q":
        return (log_r.exp() * (log_r - log_q)).sum(dim=1).mean()
    raise ValueError(f"dpm: {direction!r} is neither q_r nor r_q")


def soft(logits: Tensor, prior: Tensor) -> Tensor:
    """d-PM's baseline of soft labels: the cross-entropy between smoothed vote shares and the model.

    Args:
        logits: (B, C) of the model.
        prior: (B, C) of `vote_prior`.

    Returns:
        The mean over B; at least the mean entropy of the shares.
    """
    _same_shape(logits=logits, prior=prior)
    return -(prior * log_softmax(logits, dim=1)).sum(dim=1).mean()


def major(logits: Tensor, votes: Tensor) -> Tensor:
    """d-PM's baseline of the majority: the cross-entropy with the class of most votes; classes in a tie share it.

    Args:
        logits: (B, C) of the model.
        votes: (B, C) how many voted for each class; at least one vote in a row.

    Returns:
        The mean over B, >= 0.
    """
    _same_shape(logits=logits, votes=votes)
    first = (votes == votes.max(dim=1, keepdim=True).values).to(logits.dtype)
    return soft(logits, first / first.sum(dim=1, keepdim=True))


def no_aggregation(logits: Tensor, votes: Tensor) -> Tensor:
    """d-PM's baseline without aggregation: each vote is an example of its own, so much-voted statements count more.

    Args:
        logits: (B, C) of the model.
        votes: (B, C) how many voted for each class.

    Returns:
        The mean over all votes of the batch, >= 0.
    """
    _same_shape(logits=logits, votes=votes)
    votes = votes.to(logits.dtype)
    return -(votes * log_softmax(logits, dim=1)).sum() / votes.sum().clamp(min=1)


# -- calibration by contrast -------------------------------------------------------------------------------------------


def calibration(means: Tensor, margin: float) -> Tensor:
    """Calibration by contrast (d-PM, eq. 8): a better candidate shall lead a worse one, further the further apart.

    L = sum over i < j of max(0, s_j - s_i + lambda (j - i)). To keep its size the same for all K, and as the authors'
    code does, the pairs of each distance j - i are averaged before the K - 1 distances are added up.

    Args:
        means: (B, K) log-probability for each token of K candidates of one prompt, nats; the best candidate first.
        margin: lambda, nats for each token and rank, >= 0; the authors' code has 0.001.

    Returns:
        The mean over B, >= 0; 0 where each leads the next by ``margin``, and where there is one candidate only. Of two
        equal texts neither is moved: their scores are one and the same.

    Raises:
        ValueError: the shape is not (B, K), or the margin is negative.
    """
    if means.dim() != 2:
        raise ValueError(f"calibration: the scores must be (B, K), and their shape is {tuple(means.shape)}")
    if margin < 0:
        raise ValueError(f"calibration: the margin is {margin}, and it cannot be negative")
    distances = range(1, means.shape[1])
    lags = [relu(means[:, apart:] - means[:, :-apart] + margin * apart).mean() for apart in distances]
    return torch.stack(lags).sum() if lags else means.sum() * 0.0


def _same_shape(**tensors: Tensor) -> None:
    """Refuse what would silently broadcast: (B,) against (B, 1) would compare every pair with every other."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"The shapes must be equal: {told}")
