"""Keras layers as they compute during training: the same variables and numbers, by torch's channels-last kernels.

Keras on torch turns every batch into another memory layout and back around each convolution and pooling, and computes
batch normalisation from many small operations. These subclasses do neither; a clone made of them trains in about the
time of the same network in plain torch, and its weights go back into the stock layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..backend import keras
from ..translate.operations import pad_same


def fast_clone(model: keras.Model, precision: str = "float32") -> keras.Model:
    """A copy of a model, with its weights, for training.

    Args:
        model: of stock layers; models inside it are copied too.
        precision: ``float32``, ``bfloat16`` or ``float16``: what convolutions and products are computed in.
            Normalisation over the whole image, resizing and scaling stay float32, for gray values need more digits.

    Returns:
        A model of the same layer names and the same order of weights.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if precision != "float32" and not isinstance(layer, _FLOAT32):
            config["dtype"] = f"mixed_{precision}"
        kind: Any = _FAST.get(type(layer), type(layer))
        return kind.from_config(config)

    clone = keras.models.clone_model(model, clone_function=copy, recursive=True)
    clone.set_weights(model.get_weights())
    return clone


def _nchw(inputs: torch.Tensor) -> torch.Tensor:
    """[N, H, W, C] as a view [N, C, H, W], which torch knows as channels-last."""
    return inputs.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _nhwc(outputs: torch.Tensor) -> torch.Tensor:
    return outputs.permute(0, 2, 3, 1)


class _Conv2D(keras.layers.Conv2D):
    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.data_format != "channels_last":
            return super().call(inputs)
        x, padding, strides = _nchw(inputs), (0, 0), self.strides
        if tuple(self.kernel_size) == (1, 1) and tuple(strides) != (1, 1):
            # The same outputs. torch 2.14's gradient of such a convolution of 8 channels writes beyond its memory.
            x = x[:, :, :: strides[0], :: strides[1]].contiguous(memory_format=torch.channels_last)
            strides = (1, 1)
        elif self.padding == "same":
            x, padding = pad_same(x, self.kernel_size, strides, self.dilation_rate)
        kernel = torch.as_tensor(self.kernel.value).to(x.dtype).permute(3, 2, 0, 1)
        bias = self.bias.value.to(x.dtype) if self.use_bias else None
        outputs = F.conv2d(
            x,
            kernel.contiguous(memory_format=torch.channels_last),
            bias,
            strides,
            padding,
            self.dilation_rate,
            self.groups,
        )
        return self.activation(_nhwc(outputs)) if self.activation is not None else _nhwc(outputs)


def _depthwise(layer: Any, inputs: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[N, H, W, C] -> [N, H, W, C * M] by a kernel [K, K, C, M].

    Computed in float32 whatever the precision: in bfloat16 its gradients take up to eight times as long on a CPU.
    """
    x, padding = _nchw(inputs).float(), (0, 0)
    if layer.padding == "same":
        x, padding = pad_same(x, layer.kernel_size, layer.strides, layer.dilation_rate)
    kernel = kernel.float().permute(2, 3, 0, 1).reshape(-1, 1, *layer.kernel_size)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    outputs = F.conv2d(x, kernel, bias, layer.strides, padding, layer.dilation_rate, x.shape[1])
    return _nhwc(outputs).to(inputs.dtype)


class _DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.data_format != "channels_last":
            return super().call(inputs)
        bias = self.bias.value.float() if self.use_bias else None
        outputs = _depthwise(self, inputs, torch.as_tensor(self.kernel.value), bias)
        return self.activation(outputs) if self.activation is not None else outputs


class _SeparableConv2D(keras.layers.SeparableConv2D):
    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.data_format != "channels_last":
            return super().call(inputs)
        x = _nchw(_depthwise(self, inputs, torch.as_tensor(self.depthwise_kernel.value), None))
        kernel = torch.as_tensor(self.pointwise_kernel.value).to(x.dtype).permute(3, 2, 0, 1)
        bias = self.bias.value.to(x.dtype) if self.use_bias else None
        outputs = _nhwc(F.conv2d(x, kernel.contiguous(memory_format=torch.channels_last), bias))
        return self.activation(outputs) if self.activation is not None else outputs


class _BatchNormalization(keras.layers.BatchNormalization):
    def call(self, inputs: torch.Tensor, training: bool | None = None, mask: None = None) -> torch.Tensor:
        if inputs.ndim != 4 or self.axis not in (-1, 3):
            return super().call(inputs, training=training, mask=mask)
        outputs = F.batch_norm(
            inputs.permute(0, 3, 1, 2),
            self.moving_mean.value,
            self.moving_variance.value,
            self.gamma.value if self.scale else None,
            self.beta.value if self.center else None,
            training=bool(training) and self.trainable,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
        return _nhwc(outputs)

    def compute_output_spec(self, inputs: keras.KerasTensor, **_: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


class _AveragePooling2D(keras.layers.AveragePooling2D):
    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        x = inputs.permute(0, 3, 1, 2)
        if self.padding == "same":
            padded, padding = pad_same(x, self.pool_size, self.strides)
            if padded is not x or padding != (0, 0):
                return super().call(inputs)
        return _nhwc(F.avg_pool2d(x, self.pool_size, self.strides))


class _MaxPooling2D(keras.layers.MaxPooling2D):
    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        x, padding = inputs.permute(0, 3, 1, 2), (0, 0)
        if self.padding == "same":
            x, padding = pad_same(x, self.pool_size, self.strides, value=-torch.inf)
        return _nhwc(F.max_pool2d(x, self.pool_size, self.strides, padding))


_FAST: dict[type, Any] = {
    keras.layers.Conv2D: _Conv2D,
    keras.layers.DepthwiseConv2D: _DepthwiseConv2D,
    keras.layers.SeparableConv2D: _SeparableConv2D,
    keras.layers.BatchNormalization: _BatchNormalization,
    keras.layers.AveragePooling2D: _AveragePooling2D,
    keras.layers.MaxPooling2D: _MaxPooling2D,
}
_FLOAT32 = (
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.Resizing,
    keras.layers.InputLayer,
)
