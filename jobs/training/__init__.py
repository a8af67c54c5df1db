"""From a table to a bundle: a sample of rows, then the model."""
