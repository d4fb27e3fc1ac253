"""Runs of training: each in a process and a folder of its own, launched, watched, stopped, resumed and deleted."""
