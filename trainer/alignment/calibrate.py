"""Calibration by contrast (the d-PM paper, eq. 7 to 9): the model learns to find its better candidates likelier.

K candidates for each pair of views are written once, by diverse beam search, and ranked once (eq. 7); then each of them
shall be likelier than the worse ones, by a margin for each rank between them (eq. 8), while the references stay likely
(eq. 9). All else is alignment as in `trainer.alignment.align`: the trunk cache, the drawn reference, checkpoints.
"""

from pathlib import Path

from trainer.alignment import align
from trainer.alignment.config import CalibrateConfig
from trainer.alignment.ranked_candidates import ranked
from trainer.alignment.workshop import Workshop
from trainer.progress import Reporter


def train(config: CalibrateConfig, folder: Path, reporter: Reporter, resume: bool = False) -> Path:
    """Calibrate a fine-tuned model.

    Args:
        config: the settings.
        folder: of the run: checkpoints in ``checkpoints``, the ranked candidates in ``hypotheses.jsonl``, the best
            first, the result in ``model``.
        reporter: is told of each step, and asked whether to stop.
        resume: go on from the newest whole checkpoint, or begin where there is none.

    Returns:
        the folder of the trained model: safetensors, tokenizer, and ``evenhand.json`` with its story.

    Raises:
        Stopped: the reporter said so; there is a checkpoint if training had begun.
        ModelFileError: the preference model is missing, damaged, or of another encoder.
        EvenhandError: see `workshop.open_workshop` and `training.fit`.
    """

    def arrange(work: Workshop, answers: align.Answers) -> align.Answers:
        return ranked(work, config, answers)

    return align.train("calibrate", config, folder, reporter, resume, arrange)
