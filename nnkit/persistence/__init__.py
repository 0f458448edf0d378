"""Models in and out: the weights of other libraries."""
