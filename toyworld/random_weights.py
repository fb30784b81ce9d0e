"""Random weights that are the same on every machine.

torch's own draws differ in their last bits with the instructions of the CPU. numpy's uniform ones are made of integers,
and adding and multiplying them rounds alike everywhere.
"""

import math
from typing import Any

import numpy as np
import torch

STD_DIGITS = 2


@torch.no_grad()
def draw(generator: np.random.Generator, parameter: torch.Tensor, std: float) -> None:
    """Fill a parameter with numbers of mean 0 and this standard deviation, nearly normal: sums of four uniform ones."""
    first, second, third, fourth = generator.random((4, *parameter.shape))
    drawn = ((first + second) + (third + fourth) - 2) * (std * math.sqrt(3))
    parameter.copy_(torch.from_numpy(drawn.astype(np.float32)))


@torch.no_grad()
def redraw(model: Any, generator: np.random.Generator) -> None:
    """Draw all of a new model's parameters anew, but for those that start as a constant (norms, most biases).

    Each with the standard deviation that it has, to two significant digits: the further ones hang on the CPU.
    """
    for _, parameter in sorted(model.named_parameters()):
        if parameter.min() != parameter.max():
            draw(generator, parameter, float(f"{float(parameter.double().std()):.{STD_DIGITS}g}"))
