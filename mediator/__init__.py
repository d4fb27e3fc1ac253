"""The domain of Evenhand and its inference: disputes in, scored compromises out. Never imports torch when imported."""
