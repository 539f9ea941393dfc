import torch
import torch.nn.functional as F
from serve import Case, serve

UNITS = 1000


def make(folder):
    a, b = torch.randn(16), torch.randn(16)
    image, kernel, bias = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3), torch.randn(4)
    tokens, weight, width = torch.randn(1, 4, 32), torch.randn(32, 32), torch.randn(32)
    leaf = torch.randn(16, requires_grad=True)

    def add():
        for _ in range(UNITS):
            a.add(b)

    def multiply():
        for _ in range(UNITS):
            a.mul(2.5)

    def transpose():
        for _ in range(UNITS):
            tokens.transpose(1, 2)

    def reshape():
        for _ in range(UNITS):
            tokens.reshape([4, 2, 16])

    def linear():
        for _ in range(UNITS):
            F.linear(tokens, weight, width)

    def layer_norm():
        for _ in range(UNITS):
            F.layer_norm(tokens, [32], width, width, 1e-5)

    def conv2d():
        for _ in range(UNITS):
            F.conv2d(image, kernel, bias, 1, 1)

    def recorded():
        for _ in range(UNITS):
            leaf.add(b)

    without = torch.no_grad()
    return {
        "add": Case(without(add)),
        "multiply by a number": Case(without(multiply)),
        "transpose": Case(without(transpose)),
        "reshape": Case(without(reshape)),
        "linear": Case(without(linear)),
        "layer norm": Case(without(layer_norm)),
        "conv2d": Case(without(conv2d)),
        "add, recorded": Case(recorded),
    }


serve(make)
