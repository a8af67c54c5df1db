"""Fitting a bundle."""
