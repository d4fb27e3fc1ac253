"""Learning: recipes that train the scorer and the writers, and the export of what they learnt. Imports mediator.

train_cli, recipes      `evenhand train`, and which recipe is which function
losses                  the papers' losses, as pure functions
config, progress        what all recipes share: reading settings, telling how far they are
alignment/              the recipes that train a writer: fine-tuning, the paper's losses, calibration
preference/  empathy/   the recipes of the preference model and of the encoder that scores
pretraining/            a small language model from scratch
dataset/                data sets: files, splits, figures; building/ has candidates written for them
models/  trunk/         language models as training needs them, and the cache of what their frozen layers say
preflight/  runs/       the check before a run, and runs: processes with folders of their own
evaluate/  export/      measuring what was learnt, and writing it as GGUF
"""
