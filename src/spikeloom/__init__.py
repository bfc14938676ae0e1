"""Spikeloom: spiking neural networks on PyTorch."""
