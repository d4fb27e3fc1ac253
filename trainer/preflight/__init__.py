"""The check before a run: what it needs of memory, disk and data, and what there is. No torch."""
