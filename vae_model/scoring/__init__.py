"""Scores and reasons of batches."""
