"""The operations that StyleGAN2 is built of: each one public function, with a short reference that defines it.

On a GPU, kernels of our own (``csrc/cuda``, bound by ``cuda_kernels.py``) take their place where they can be built; see
:mod:`.build` for when that is. ``FERGAN_OPS=reference`` in the environment keeps to the references.
"""

from .bias_act import bias_act
from .cuda_kernels import Resampling
from .modulated_conv2d import modulated_conv2d, styled_conv2d
from .upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "Resampling",
    "bias_act",
    "downsample2d",
    "modulated_conv2d",
    "setup_filter",
    "styled_conv2d",
    "upfirdn2d",
    "upsample2d",
]
