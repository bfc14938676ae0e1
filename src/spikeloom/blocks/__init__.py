"""Parts of deep spiking networks: residual blocks, spiking VGG, spiking attention.

Every part computes one time step, ``[B, C, H, W]`` or tokens ``[B, N, C]``. `spikeloom.run` runs a
network of them over time, `spikeloom.layerwise` runs a loop over time around it, `spikeloom.fit`
trains it. Classes combine parts; functions in lower case build the blocks of papers from sizes, a
function that makes a neuron, and a function that makes a norm.
"""

from .attention import QKAttention, SelfAttention, encoder_block, qk_attention, self_attention
from .images import ms_block, patch_embedding, sew_block, vgg
from .parts import Residual, TokenMean, Tokens
from .tokens import TokenLayer, token_layer, token_mlp

__all__ = [
    "QKAttention",
    "Residual",
    "SelfAttention",
    "TokenLayer",
    "TokenMean",
    "Tokens",
    "encoder_block",
    "ms_block",
    "patch_embedding",
    "qk_attention",
    "self_attention",
    "sew_block",
    "token_layer",
    "token_mlp",
    "vgg",
]
