"""The making of a data set: candidates written for many disputes, by one writer or through batches of requests."""
