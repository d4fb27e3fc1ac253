"""Hugging Face checkpoint -> GGUF: a file for each family of models, quantising, and the check of the result."""
