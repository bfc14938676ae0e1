"""Spikes as events: products of a weight with a sparse input that skip the zeros."""
