"""Spikes as events: products of a weight with a sparse input that touch only what fired."""
