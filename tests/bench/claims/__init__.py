"""Measures what is claimed of autoencoders and VAEs. `python -m tests.bench.claims`; docs/claims.md has the result."""
