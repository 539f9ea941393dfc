import os

from diffusers import UNet2DConditionModel
from serve import Case, serve, some


def make(folder):
    def load():
        return UNet2DConditionModel.from_pretrained(os.path.join(folder, "unet"))

    def result():
        # By name: the order of the layers in the two classes is not the same.
        return [number for _, weight in sorted(load().named_parameters()) for number in some(weight, 2)]

    return {"UNet": Case(load, result)}


serve(make)
