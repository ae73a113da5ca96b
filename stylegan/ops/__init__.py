"""The three operations that StyleGAN2 is built of, each one short function that defines it."""

from .bias_act import bias_act
from .modulated_conv2d import modulated_conv2d
from .upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

__all__ = ["bias_act", "downsample2d", "modulated_conv2d", "setup_filter", "upfirdn2d", "upsample2d"]
