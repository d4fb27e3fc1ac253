"""What a preference model is worth on conversations of hosts that it has not seen, beside a constant.

Every host (`trainer.preference.data.host_of`) is left out once with all its conversations, which are predicted by a
head that was fitted to the others'. Each figure is computed within a conversation, and averaged over each host's
conversations and then over the hosts, so that neither a large conversation nor a host of many counts for more: what
the app will meet is a new conversation of somebody else. Intervals come from drawing hosts with replacement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mediator.acceptance import Acceptance
from trainer.empathy.figures import spearman
from trainer.evaluate.bootstrap import Interval, interval
from trainer.preference.config import PreferenceConfig
from trainer.preference.data import Counts, Statement, conversations, counts_of, host_of
from trainer.preference.recipe import Features, fit

Shares = NDArray[np.float64]

Names = NDArray[np.str_]
"""(B,) the conversation of each statement."""

Predictor = Callable[[Names, Features, Counts, Features], Shares]
"""Learns from (conversations, features, votes) and predicts shares of agreement, 0..1, for other features."""

PENALTIES = (1.0, 3.0, 10.0, 30.0)
"""What `chosen` chooses among, where the settings leave the penalty at 0."""

_EDGE = 1e-4
"""No share is predicted nearer to 0 or 1 than this: one vote against certainty must not cost everything."""

_FEWEST_STATEMENTS = 10
_FEWEST_HOSTS = 3
_FOLDS = 3


@dataclass(frozen=True)
class Figures:
    """How well shares were predicted; one number for each conversation, in the order of their names.

    Attributes:
        predicted: (B,) the predicted share of agreement of each statement, by a head that had not seen its host.
        log_loss: nats for each vote, of those for and against.
        brier: the squared difference between the predicted share and a vote (0 or 1), 0..1.
        rank: Spearman of predicted and true shares; nan for fewer than ten statements.
        groups: Spearman of how close the prediction is to one half and how far the opinion groups differ; nan for
            fewer than ten statements on which two groups voted.
        sizes: statements.
        hosts: who held it.
        constant: the same for `constant_predictor`.
    """

    predicted: Shares
    log_loss: tuple[float, ...]
    brier: tuple[float, ...]
    rank: tuple[float, ...]
    groups: tuple[float, ...]
    sizes: tuple[int, ...]
    hosts: tuple[str, ...]
    constant: "Figures | None" = None

    @cached_property
    def quantiles(self) -> Shares:
        """(101,) the predicted shares by percent of the statements, rising."""
        found: Shares = np.percentile(self.predicted, np.arange(101))
        return found

    def gains(self, name: str = "log_loss") -> tuple[float, ...]:
        """How much lower ``log_loss`` or ``brier`` is than the constant's, for each conversation."""
        if self.constant is None:
            raise ValueError("there is nothing to compare with")
        return tuple(float(gain) for gain in np.subtract(getattr(self.constant, name), getattr(self, name)))

    def beats_the_constant(self) -> bool:
        """Whether the gain in log-loss over the hosts is above 0 with its whole interval.

        A reading of a model that does not must be called a weak one wherever it is shown.
        """
        return self.constant is not None and mean_of(self.gains(), self.hosts)[1].low > 0

    def as_json(self) -> dict[str, Any]:
        """Return the means over the hosts with their intervals, and the gains over the constant.

        The gain in log-loss is also given ``_by_conversation``: each counts once there, however many its host held.
        """
        found: dict[str, Any] = {
            "hosts": len(set(self.hosts)), "conversations": len(self.sizes), "statements": sum(self.sizes)
        }  # fmt: skip
        for name in ("log_loss", "brier", "rank", "groups"):
            found[name] = _ends(*mean_of(getattr(self, name), self.hosts))
        if self.constant is not None:
            for name in ("log_loss", "brier"):
                found[f"{name}_gain"] = _ends(*mean_of(self.gains(name), self.hosts))
            once = [1] * len(self.sizes)
            found["log_loss_gain_by_conversation"] = _ends(*mean_of(self.gains(), self.hosts, once))
        return found


def mean_of(
    values: Sequence[float], hosts: Sequence[str], weights: Sequence[float] | None = None
) -> tuple[float, Interval]:
    """Return the mean of what was measured in each conversation, and its 95 % interval by drawing hosts.

    Args:
        values: one for each conversation; nan is left out.
        hosts: who held it.
        weights: of the conversations, positive. Without, each host counts once, by the mean of its conversations.

    Returns:
        the mean and the interval; nan where there are no values.
    """
    known = ~np.isnan(np.asarray(values, dtype=float))
    if not known.any():
        return float("nan"), Interval(float("nan"), float("nan"))
    heavy = np.ones(len(known)) if weights is None else np.asarray(weights, dtype=float)
    rows = [known & (np.array(hosts) == host) for host in sorted(set(hosts))]
    rows = [row for row in rows if row.any()]
    means = [float(np.average(np.array(values)[row], weights=heavy[row])) for row in rows]
    of_hosts = [1.0 if weights is None else float(heavy[row].sum()) for row in rows]
    return float(np.average(means, weights=of_hosts)), interval(means, weights=of_hosts)


def chosen(names: Names, features: Features, counts: Counts, config: PreferenceConfig) -> PreferenceConfig:
    """Return the settings with a penalty: where it is 0, the best of `PENALTIES` on left-out hosts.

    The hosts are dealt into three parts, the one with the most statements first (the conversations, where all are of
    one host); each part is predicted by what the others taught, and the log-loss of the votes that may be learned from
    decides, as a mean over the hosts' means. Of a single conversation nothing can be left out: there the penalty is 1.
    """
    if config.penalty > 0:
        return config
    hosts = np.array([host_of(name) for name in names.tolist()])
    units = hosts if len(set(hosts.tolist())) > 1 else names
    by_size = sorted(set(units.tolist()), key=lambda unit: (-int((units == unit).sum()), unit))
    if len(by_size) < 2:
        return config.model_copy(update={"penalty": 1.0})
    part = np.array([by_size.index(unit) % _FOLDS for unit in units.tolist()])
    voted = counts[:, :2].sum(axis=1) > 0
    found: dict[float, float] = {}
    for penalty in PENALTIES:
        tried = config.model_copy(update={"penalty": penalty})
        predicted = np.full(len(names), 0.5)
        for fold in set(part.tolist()):
            predicted[part == fold] = _predicted(
                features[part != fold], counts[part != fold], features[part == fold], tried
            )
        losses = _log_loss(predicted.clip(_EDGE, 1 - _EDGE), counts)
        talks = [name for name in sorted(set(names.tolist())) if (voted & (names == name)).any()]
        means = [float(losses[voted & (names == name)].mean()) for name in talks]
        found[penalty] = mean_of(means, [str(units[names == name][0]) for name in talks])[0]
    return config.model_copy(update={"penalty": min(found, key=lambda penalty: found[penalty])})


def head_predictor(config: PreferenceConfig) -> Predictor:
    """Return what fits a head with these settings and predicts by it."""

    def predict(names: Names, features: Features, counts: Counts, unseen: Features) -> Shares:
        return _predicted(features, counts, unseen, chosen(names, features, counts, config))

    return predict


def constant_predictor(names: Names, features: Features, counts: Counts, unseen: Features) -> Shares:
    """Say of each statement the mean share of those that were learned from."""
    sides = counts[counts[:, :2].sum(axis=1) > 0, :2]
    return np.full(len(unseen), float((sides[:, 0] / sides.sum(axis=1)).mean()))


def word_counts(statements: Sequence[Statement]) -> Features:
    """Return (B, 1) the logarithm of 1 + the words of each statement: what a model without meaning could know."""
    return np.array([[np.log1p(len(statement.text.split()))] for statement in statements])


def left_out(statements: Sequence[Statement], features: Features, counts: Counts, predictor: Predictor) -> Shares:
    """Predict the conversations of each host by what was learned from those of the others.

    Args:
        statements: B of them.
        features: (B, dimensions).
        counts: (B, C) the votes to learn from, perhaps few of them.
        predictor: learns and predicts.

    Returns:
        (B,) shares of agreement, 0..1.
    """
    names = names_of(statements)
    hosts = np.array([host_of(name) for name in names.tolist()])
    found = np.zeros(len(statements))
    for host in sorted(set(hosts.tolist())):
        out = hosts == host
        found[out] = predictor(names[~out], features[~out], counts[~out], features[out])
    return found


def names_of(statements: Sequence[Statement]) -> Names:
    """Return (B,) the conversation of each statement."""
    return np.array([statement.conversation for statement in statements])


def figures_of(statements: Sequence[Statement], predicted: Shares, constant: Figures | None = None) -> Figures:
    """Measure predicted shares on all votes of each statement, for and against."""
    predicted = predicted.clip(_EDGE, 1 - _EDGE)
    names, votes = names_of(statements), counts_of(statements)
    truth = votes[:, 0] / votes.sum(axis=1)
    apart = np.array([np.nan if (far := one.disagreement) is None else far for one in statements])
    log_loss = _log_loss(predicted, votes)
    brier = truth * (1 - predicted) ** 2 + (1 - truth) * predicted**2
    rows = [names == name for name in conversations(statements)]
    return Figures(
        predicted=predicted,
        log_loss=tuple(float(log_loss[row].mean()) for row in rows),
        brier=tuple(float(brier[row].mean()) for row in rows),
        rank=tuple(_rank(predicted[row], truth[row]) for row in rows),
        groups=tuple(_rank(-abs(predicted[row] - 0.5), apart[row]) for row in rows),
        sizes=tuple(int(row.sum()) for row in rows),
        hosts=tuple(host_of(name) for name in conversations(statements)),
        constant=constant,
    )


def measure(
    statements: Sequence[Statement], features: Features, counts: Counts, config: PreferenceConfig
) -> Figures | None:
    """Measure the settings on each host, left out; None where there are fewer than three of them."""
    if len({host_of(name) for name in conversations(statements)}) < _FEWEST_HOSTS:
        return None
    constant = figures_of(statements, left_out(statements, features, counts, constant_predictor))
    return figures_of(statements, left_out(statements, features, counts, head_predictor(config)), constant)


def _predicted(features: Features, counts: Counts, unseen: Features, config: PreferenceConfig) -> Shares:
    head = Acceptance(fit(features, counts, config), ("agree", "disagree"), "", np.zeros(0), {})
    return np.array(head.shares(unseen), dtype=np.float64)


def _log_loss(predicted: Shares, counts: Counts) -> Shares:
    """(B,) nats for each vote for or against; 0 for statements without any."""
    truth = counts[:, 0] / counts[:, :2].sum(axis=1).clip(1)
    against = counts[:, 1] / counts[:, :2].sum(axis=1).clip(1)
    found: Shares = -(truth * np.log(predicted) + against * np.log(1 - predicted))
    return found


def _rank(first: Shares, second: Shares) -> float:
    known = ~np.isnan(second)
    return spearman(first[known], second[known]) if known.sum() >= _FEWEST_STATEMENTS else float("nan")


def _ends(mean: float, ends: Interval) -> dict[str, float | None]:
    values = {"value": mean, "low": ends.low, "high": ends.high}
    return {name: None if np.isnan(value) else round(value, 4) for name, value in values.items()}
