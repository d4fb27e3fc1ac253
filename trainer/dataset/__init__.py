"""Data sets of disputes with candidates: reading and writing them, dividing them, counting what is in them."""
