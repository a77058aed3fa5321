"""Tracing of timm's models."""

import pytest
import torch
from tracing_reference import eager_values

from nnray.graph import GraphModule

TIMM_MODELS = {
    "resnet18": {},
    "vit_tiny_patch16_224": {"img_size": 32},
    "convnext_atto": {},
    "mobilenetv3_small_050": {},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2},
    "levit_128s": {},
    "regnetx_002": {},
    "poolformer_s12": {},
}


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timm(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=10, **TIMM_MODELS[name]).eval()
    size = TIMM_MODELS[name].get("img_size", 224 if name.startswith("levit") else 64)
    model = GraphModule.trace(module)
    assert list(model.state_dict()) == list(module.state_dict())
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        output, expected = eager_values(module, x)
        values = model(x, outputs="*")
        assert torch.equal(model(x), output)
    common = values.keys() & expected.keys()
    assert len(common) > 50
    for key in common:
        assert torch.equal(values[key], expected[key]), key
