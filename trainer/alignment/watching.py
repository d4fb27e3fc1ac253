"""How a model fares while it learns: likelihood and ROUGE on the validation set, and compromises written and scored."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from mediator.schema import Scores
from trainer.alignment.config import AlignConfig, RecipeConfig
from trainer.dataset.data import Example
from trainer.evaluate.rouge import Rouge, best_rouge, references_of
from trainer.models import hypotheses
from trainer.models.network import Network, batch_of, encode_answer, prompt_room
from trainer.models.prompting import Encoded, encode, prompt_of, prompt_tokens
from trainer.models.trainable import Learner
from trainer.progress import Reporter, Stopped

__all__ = ["Watch", "batch_of", "encode_answer", "prompt_room"]

_log = logging.getLogger(__name__)

_ANSWER_TOKENS = 160
_ANSWER_BATCH = 16


class Watch:
    """Measures one learner on one validation set.

    ``validation_loss`` is the negative log-likelihood of the validation set's candidates in nats for each token, for
    all recipes: recipes can be compared by it. ``rouge1`` and ``rougeL`` compare the likeliest answer with the
    candidates, and take the best.
    """

    def __init__(
        self,
        learner: Learner,
        network: Network,
        config: RecipeConfig,
        validation: Sequence[Example],
        samples: Sequence[Example],
        reporter: Reporter,
    ) -> None:
        """Prepare the texts.

        Args:
            learner: the model.
            network: with the same model, for likelihoods.
            config: of the recipe.
            validation: disputes with candidates; the first ``validation_pairs`` are measured on.
            samples: disputes for which a compromise is shown.
            reporter: is told of progress and samples.

        Raises:
            DatasetError: the settings leave no room for a view beside the template and an answer. Said here, before
                anything is learned, not at the first measurement.
        """
        self._learner, self._network, self._config, self._reporter = learner, network, config, reporter
        self._validation = [example for example in validation if example.candidates][: config.validation_pairs]
        self._samples = list(samples)
        self._texts: list[Encoded] = [
            encode(learner.tokenizer, self._prompt(example), candidate.text, config.longest_text)
            for example in self._validation
            for candidate in example.candidates
        ]
        self._texts.sort(key=lambda text: len(text.tokens))
        room = prompt_room(config.longest_text, self._answer_tokens)
        for example in (*self._validation, *self._samples):
            prompt_tokens(learner.tokenizer, self._prompt(example), room)
        self._scorer: Any = None
        self._no_scorer = False

    def __call__(self, step: int, steps: int, epoch: float) -> dict[str, float]:
        """Measure now, show the samples, and return the metrics. Raises `Stopped`."""
        found: dict[str, float] = {}
        was_training = self._network.training
        self._network.eval()
        try:
            with torch.no_grad(), self._learner.computing():
                if self._texts:
                    found["validation_loss"] = self._loss()
                answers = self._answers()
        finally:
            self._network.train(was_training)
        rouges = [self._rouge(example, answers[example.id]) for example in self._validation]
        if rouges:
            found["rouge1"] = sum(rouge.rouge1 for rouge in rouges) / len(rouges)
            found["rougeL"] = sum(rouge.rougeL for rouge in rouges) / len(rouges)
        scored = []
        for example in self._samples:
            text = answers[example.id]
            scores = self._score(example, text)
            self._reporter.sample(
                step, example.id, text, scores.score_a if scores else None, scores.score_b if scores else None
            )
            scored += [scores] if scores else []
        if scored:
            found["gap"] = sum(scores.gap for scores in scored) / len(scored)
            found["warmth"] = sum(scores.warmth for scores in scored) / len(scored)
        self._reporter.phase("training", step, steps)
        return found

    def _loss(self) -> float:
        total, count = 0.0, 0
        size = self._config.batch_size
        for start in range(0, len(self._texts), size):
            self._reporter.phase("measuring", start, len(self._texts))
            if self._reporter.should_stop():
                raise Stopped
            sums, counts = self._network(**batch_of(self._texts[start : start + size], self._learner.device))
            total -= float(sums.sum())
            count += int(counts.sum())
        return total / max(count, 1)

    def _answers(self) -> dict[str, str]:
        asked = {example.id: example for example in (*self._validation, *self._samples)}
        config, tokens = self._config, self._answer_tokens
        batch = config.hypothesis_batch if isinstance(config, AlignConfig) else _ANSWER_BATCH
        written = hypotheses.generate(
            self._learner.model,
            self._learner.tokenizer,
            [self._prompt(example) for example in asked.values()],
            batch=batch,
            tokens=tokens,
            longest=prompt_room(config.longest_text, tokens),
            reporter=self._reporter,
            phase="measuring",
        )
        return {name: answers[0] for name, answers in zip(asked, written, strict=True)}

    @property
    def _answer_tokens(self) -> int:
        return self._config.hypothesis_tokens if isinstance(self._config, AlignConfig) else _ANSWER_TOKENS

    def _prompt(self, example: Example) -> str:
        return prompt_of(example, self._config.demographics)

    @staticmethod
    def _rouge(example: Example, answer: str) -> Rouge:
        return best_rouge(answer, references_of(example))

    def _score(self, example: Example, text: str) -> Scores | None:
        """The bundled scorer's judgement; None for an empty text, or where the scorer cannot be loaded."""
        if not text or self._no_scorer:
            return None
        try:
            if self._scorer is None:
                from mediator.empathy import EmpathyModel

                self._scorer = EmpathyModel.load()
            scores: Scores = self._scorer.score(example, [text])[0]
            return scores
        except Exception as error:  # noqa: BLE001 - a run of hours shall not end because a sample has no bars
            _log.warning("The samples are shown without scores: %s", error)
            self._no_scorer = True
            return None
