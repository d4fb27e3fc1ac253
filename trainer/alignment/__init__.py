"""The recipes that train a writer: fine-tuning, the paper's losses, their comparators, calibration."""
