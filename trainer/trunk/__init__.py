"""The trunk cache: what the frozen layers make of a text, computed once and kept."""
