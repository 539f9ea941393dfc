"""What the peers of full size share: each case loads its model when it is first asked, and a LoRA learns from a mean of squares."""

import torch
from serve import Case, some


class Later(Case):
    """Loads the model when it is first asked."""

    def __init__(self, make):
        self.make = make
        self.case = None
        super().__init__(lambda: self.loaded().run(), lambda: self.loaded().result())

    def loaded(self):
        self.case = self.case or self.make()
        return self.case


def prediction(predict):
    without = torch.inference_mode()
    return Case(without(predict), without(lambda: some(predict())))


def training(model, predict, first):
    """Forward and backward; first: the weight whose gradient is compared."""

    def backward():
        predict().float().square().mean().backward()

    def run():
        backward()
        model.zero_grad(set_to_none=True)

    def result():
        backward()
        numbers = some(first.grad)
        model.zero_grad(set_to_none=True)
        return numbers

    return Case(run, result)
