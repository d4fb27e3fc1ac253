"""Language models as training needs them: loaded, cut in two, read for likelihoods, asked for answers."""
