"""Tracing of modules that torch.fx cannot follow, such as transformers, by torch.export."""

import pickle
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tracing_reference import assert_same, eager_values, network

from nnray.errors import GraphError
from nnray.graph import GraphModule


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x, mask=None, **kwargs):
        batch, length, width = x.shape
        if kwargs.get("output_attentions"):
            raise NotImplementedError

        def heads(value):
            return value.view(batch, length, 2, width // 2).transpose(1, 2)

        result = F.scaled_dot_product_attention(heads(self.query(x)), heads(self.key(x)), heads(self.value(x)))
        return self.dropout(result.transpose(1, 2).reshape(batch, length, width)), None


class Encoder(nn.Module):
    """What torch.fx cannot follow: conditions on lengths, `**kwargs`, a dict as output, tied weights."""

    def __init__(self, width=8, vocabulary=11):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, 9, width))
        self.layers = nn.ModuleList(
            nn.ModuleDict({"attention": Attention(width), "norm": nn.LayerNorm(width), "act": nn.ReLU(inplace=True)})
            for _ in range(2)
        )
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens, **kwargs):
        length = tokens.shape[1]
        if length > self.position.shape[1]:
            raise ValueError("too long")
        x = self.embedding(tokens) + self.position[:, :length]
        hidden = []
        for layer in self.layers:
            attended, _ = layer["attention"](layer["norm"](x), **kwargs)
            x = layer["act"](x + F.dropout(attended, 0.1, self.training))
            hidden.append(x)
        return {"logits": self.head(x), "hidden": hidden}


def test_a_transformer_that_torch_fx_cannot_trace():
    torch.manual_seed(0)
    module = Encoder().eval()
    with pytest.raises(GraphError, match=r"test_tracing_export\.py:\d+: `if length > .*example="):
        GraphModule.trace(module)
    model = GraphModule.trace(module, torch.zeros(2, 5, dtype=torch.long))
    assert list(model.state_dict()) == list(module.state_dict())
    assert model.inputs == ("input",)
    assert {"layers.1.attention.query", "layers.1.attention.scaled_dot_product_attention", "layers.0.act"} <= {
        *GraphModule.names.fget(model)
    }
    for batch, length in [(2, 5), (3, 7), (4, 2)]:
        tokens = torch.randint(0, 11, (batch, length))
        for mode in (False, True):
            module.train(mode)
            model.train(mode)
            torch.manual_seed(0)
            output, expected = eager_values(module, tokens)
            torch.manual_seed(0)
            values = model(tokens, outputs="*")
            assert_same(values["output"], output)
            common = values.keys() & expected.keys()
            assert len(common) == 14
            for name in common:
                assert torch.equal(values[name], expected[name]), name
    logits = model(tokens, outputs="output.logits")
    assert logits["output.logits"].shape == (4, 2, 11)
    restored = pickle.loads(pickle.dumps(model.eval()))
    assert_same(restored(tokens), model(tokens))


class AttentionWithDropout(nn.Module):
    """As transformers have it: with dropout, attention has another kernel, whose result lies otherwise in memory."""

    def __init__(self, width=8):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, **kwargs):
        batch, length, width = x.shape
        if length > 99:
            raise ValueError("too long")
        query, key, value = (each.view(batch, length, 2, -1).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        dropout = 0.3 if self.training else 0.0
        result = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.out(result.transpose(1, 2).contiguous().view(batch, length, width).contiguous())


@pytest.mark.parametrize("training", [True, False], ids=["traced in train", "traced in eval"])
def test_attention_with_dropout_follows_the_mode(training):
    torch.manual_seed(0)
    module = AttentionWithDropout().train(training)
    model = GraphModule.trace(module, torch.randn(2, 5, 8))
    for length in (5, 3):
        x = torch.randn(3, length, 8)
        for mode in (False, True, False):
            torch.manual_seed(1)
            expected = module.train(mode)(x)
            torch.manual_seed(1)
            assert torch.equal(model.train(mode)(x), expected)


def prints(self, x):
    print("hello", file=sys.stderr)
    return x if x.shape[0] > 9 else self.linear(x)


def data_dependent(self, x):
    return x if self.linear(x).sum() > 0 else -x


def test_nothing_is_printed_but_what_the_module_prints(capfd):
    with pytest.raises(GraphError, match="cannot trace Network"):
        GraphModule.trace(network(data_dependent, linear=nn.Linear(4, 4)), torch.randn(2, 4))
    assert capfd.readouterr() == ("", "")
    GraphModule.trace(network(prints, linear=nn.Linear(4, 4)), torch.randn(2, 4))
    assert set(capfd.readouterr().err.split()) == {"hello"}


def under_no_grad(self, x):
    if x.shape[0] > 9:
        return x
    with torch.no_grad():
        angle = self.angle(x)
        scale = angle.cos()
    return self.linear(x) * angle + scale


def test_no_grad_is_kept_by_torch_export():
    module = network(under_no_grad, linear=nn.Linear(4, 4), angle=nn.Linear(4, 4))
    model = GraphModule.trace(module, torch.randn(3, 4))
    assert model.names == ("angle", "cos", "detach", "detach_1", "linear", "mul", "add")
    gradients = []
    for run in (model, module):
        x = torch.ones(2, 4, requires_grad=True)
        run(x).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert module.angle.weight.grad is None


def test_examples_are_tensors():
    with pytest.raises(GraphError, match="the example's 'tokens' must be a tensor, not a list"):
        GraphModule.trace(Encoder(), ([1, 2],))
