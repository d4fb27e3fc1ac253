"""Who writes the candidate compromises: one file per provider, all behind the protocol of `base`."""
