"""How the drafter works without a language model: read the views, choose measures, compose proposals."""
