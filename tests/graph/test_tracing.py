"""Tracing of modules that do what networks do in Python: write in place, share modules, depend on the mode."""

import copy
import operator
import pickle
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tracing_reference import eager_values

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.graph.operations import ByMode
from nnray.models import ResNet


def network(forward, **children):
    """A module with these submodules, parameters and buffers, and this code."""
    module = type("Network", (nn.Module,), {"forward": forward})()
    for name, child in children.items():
        setattr(module, name, child)
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def in_place_functions(self, x):
    y = self.conv(x)
    y += 1
    z = y.relu_()
    F.leaky_relu(z, 0.2, True)
    y.mul_(2)
    return torch.cat([z, y.add(x.mean())], 1)


def in_place_module_whose_input_is_read_later(self, x):
    y = self.conv(x)
    self.relu(y)
    return y + self.conv(self.relu(y * 2))


def same_block_twice(self, x):
    return self.block(self.block(x)) + self.block[0](x)


def parameters_and_buffers(self, x):
    return F.linear(self.conv(x).flatten(2), self.weight) * self.scale + self.conv.bias.sum()


def constants(self, x):
    return torch.where(x > 0, x, torch.tensor(2.0)) + torch.tensor([1.0, 2.0, 3.0, 4.0])


def sizes(self, x):
    n, c = x.shape[:2]
    h = x.size(-1)
    return self.conv(x).view(n, -1, h // 2, 2).permute(0, 2, 1, 3).reshape(n, c * h * x.shape[2])


def tuple_output(self, x):
    return self.conv(x), {"sum": x.sum(), "list": [x, 3]}


def input_returned(self, x):
    return x


def names_of_methods(self, x):
    return self.names(self.layers(self.inner["tanh"](x)).float()).half().float()


MODULES = {
    "in-place functions": lambda: network(in_place_functions, conv=nn.Conv2d(3, 3, 1)),
    "in-place module whose input is read later": lambda: network(
        in_place_module_whose_input_is_read_later, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(inplace=True)
    ),
    "same block twice": lambda: network(
        same_block_twice, block=nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    ),
    "parameters and buffers": lambda: network(
        parameters_and_buffers,
        conv=nn.Conv2d(3, 3, 1),
        weight=nn.Parameter(torch.empty(5, 16)),
        scale=nn.Buffer(torch.full((1,), 2.0), persistent=False),
        unused=nn.Linear(2, 2),
        unused_weight=nn.Parameter(torch.empty(2)),
    ),
    "constants": lambda: network(constants),
    "sizes": lambda: network(sizes, conv=nn.Conv2d(3, 3, 1)),
    "tuple output": lambda: network(tuple_output, conv=nn.Conv2d(3, 3, 1)),
    "input returned": lambda: network(input_returned, conv=nn.Conv2d(3, 3, 1)),
    "names of methods": lambda: network(
        names_of_methods,
        layers=nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)),
        names=nn.Conv2d(3, 3, 1),
        inner=nn.ModuleDict({"tanh": nn.Tanh()}),
    ),
}


def assert_same(value, expected):
    if isinstance(expected, torch.Tensor):
        assert torch.equal(value, expected)
    elif isinstance(expected, dict):
        assert value.keys() == expected.keys()
        for key in expected:
            assert_same(value[key], expected[key])
    elif isinstance(expected, tuple | list):
        assert type(value) is type(expected)
        for item, other in zip(value, expected, strict=True):
            assert_same(item, other)
    else:
        assert value == expected


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 4, 4)], ids=["no example", "example"])
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_values_are_those_of_an_eager_run(make, example, grad):
    module = make().eval()
    model = GraphModule.trace(module, example)
    x = torch.randn(2, 3, 4, 4)
    before = x.clone()
    with torch.set_grad_enabled(grad):
        output, expected = eager_values(module, x)
        assert_same(model(x), output)
        values = model(x, outputs="*")
        calls = expected.keys() - {"block", "block_1", "layers"}  # no layers themselves
        assert_same({name: values[name] for name in calls}, {name: expected[name] for name in calls})
        for name, value in values.items():
            assert_same(model(x, outputs=name)[name], value)
            assert_same(model({"input": x, name: value}), output)
    assert torch.equal(x, before)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_state_dicts_are_those_of_the_module_which_stays_as_it_was(make):
    module = make()
    attributes, modes = dict(module.__dict__), [child.training for child in module.modules()]
    keys = list(module.state_dict())
    model = GraphModule.trace(module)
    assert list(model.state_dict()) == keys
    assert dict(module.__dict__) == attributes
    assert [child.training for child in module.modules()] == modes
    assert all(mine is theirs for mine, theirs in zip(model.parameters(), module.parameters(), strict=True))
    apart = GraphModule.trace(module, copy=True)
    assert list(apart.state_dict()) == keys
    assert not any(mine is theirs for mine, theirs in zip(apart.parameters(), module.parameters(), strict=True))
    module.load_state_dict(apart.state_dict())


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_results_are_ordinary_modules(make):
    model = GraphModule.trace(make().eval())
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    assert_same(copy.deepcopy(model)(x), expected)
    assert_same(pickle.loads(pickle.dumps(model))(x), expected)
    assert_same(GraphModule.from_nodes(model.nodes, outputs=[model.nodes[-1].name])(x), expected)
    parameters = {name: parameter.detach() * 2 for name, parameter in model.named_parameters()}
    other = copy.deepcopy(model)
    other.load_state_dict(parameters, strict=False)
    assert_same(torch.func.functional_call(model, parameters, (x,)), other(x))


@pytest.mark.parametrize("name", ["in-place functions", "same block twice", "parameters and buffers", "sizes"])
def test_results_compile_without_graph_breaks(name):
    torch.compiler.reset()
    model = GraphModule.trace(MODULES[name]().eval())
    x = torch.randn(2, 3, 4, 4)
    assert_same(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


def test_layers_are_called_as_in_named_modules():
    model = GraphModule.trace(MODULES["same block twice"]())
    blocks = [f"block.{index}{use}" for use in ("", "_1") for index in range(3)]
    assert model.names == (*blocks, "block.0_2", "add")
    assert GraphModule.trace(MODULES["in-place functions"]()).names[:5] == ("conv", "add", "relu", "leaky_relu", "mul")


def test_a_method_steps_back_behind_a_submodule_of_its_name():
    model = GraphModule.trace(MODULES["names of methods"]())
    assert isinstance(model.names, nn.Conv2d)
    assert [name for name, _ in model.layers.named_children()] == ["0", "1"]
    assert GraphModule.names.fget(model)[-3:] == ("names", "half_1", "float_2")
    assert GraphModule.names.fget(model)[0] == "inner.tanh"
    assert GraphModule.trace(nn.Sequential(nn.ReLU())).names == ("0",)


def functional_dropout(self, x):
    return F.dropout(self.conv(x), 0.5, self.training)


def structure_by_mode(self, x):
    return self.conv(x) if self.training else self.conv(x).relu()


@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 4, 4)], ids=["no example", "example"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_functional_dropout_follows_the_mode(training, example):
    module = network(functional_dropout, conv=nn.Conv2d(3, 3, 1)).train(training)
    model = GraphModule.trace(module, example)
    assert isinstance(model.dropout, ByMode)
    x = torch.randn(2, 3, 4, 4)
    for mode in (False, True, False):
        torch.manual_seed(0)
        expected = module.train(mode)(x)
        torch.manual_seed(0)
        assert torch.equal(model.train(mode)(x), expected)


def test_code_that_depends_on_the_mode_is_bound_to_it():
    module = network(structure_by_mode, conv=nn.Conv2d(3, 3, 1))
    model = GraphModule.trace(module.eval())
    assert model.names == ("conv", "relu")
    with pytest.raises(GraphError, match=r"traced in evaluation mode and its code does something else in the other"):
        model.train()
    assert not model.conv.training
    assert GraphModule.trace(module.train()).train().names == ("conv",)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = self.linear(x)
        return x * 2 if x.shape[0] > 1 else x


def branching_function(x):
    return x if x.shape[0] > 1 else -x


def with_branching(self, x):
    return self.block["inner"](x).relu()


def make_branching():
    return network(with_branching, block=nn.ModuleDict({"inner": Branching()}))


def test_what_cannot_be_traced_is_named_with_its_line():
    with pytest.raises(GraphError) as error:
        GraphModule.trace(make_branching())
    message = str(error.value)
    assert "cannot trace 'block.inner' (Branching)" in message
    assert "test_tracing.py:" in message
    assert "`return x * 2 if x.shape[0] > 1 else x`" in message
    assert "example=..." in message
    assert "opaque=[...]" in message
    assert "\n" not in message


def data_dependent(self, x):
    return x if x.sum() > 0 else -x


def test_what_torch_export_cannot_trace_either_is_named_too():
    inner = nn.ModuleDict({"inner": network(data_dependent, linear=nn.Linear(4, 4))})
    module = network(lambda self, x: self.block["inner"](x), block=inner)
    line = r"`return x if x\.sum\(\) > 0 else -x`"
    with pytest.raises(GraphError, match=rf"cannot trace 'block\.inner' \(Network\).*{line}"):
        GraphModule.trace(module, torch.randn(2, 4))


@pytest.mark.parametrize("opaque", ["block.inner", ["*.inner"], [Branching]], ids=["name", "glob", "class"])
def test_an_opaque_submodule_is_one_layer(opaque):
    module = make_branching()
    model = GraphModule.trace(module, opaque=opaque)
    assert model.names == ("block.inner", "relu")
    assert model.block.inner is module.block.inner
    for batch in (1, 3):
        x = torch.randn(batch, 4)
        assert torch.equal(model(x), module(x))


def test_an_opaque_function_is_one_layer():
    module = network(lambda self, x: branching_function(self.linear(x)), linear=nn.Linear(4, 4))
    model = GraphModule.trace(module, opaque=[branching_function])
    assert model.names == ("linear", "branching_function")
    assert torch.equal(model(torch.ones(1, 4)), module(torch.ones(1, 4)))


@pytest.mark.parametrize(
    ("opaque", "message"),
    [
        ("block.iner", "no submodule is called 'block.iner', to make it opaque; did you mean 'block.inner'"),
        ([3], "opaque lists names, globs, classes of modules and functions, not 3"),
    ],
    ids=["unknown", "wrong type"],
)
def test_mistakes_in_opaque(opaque, message):
    with pytest.raises(GraphError, match=message):
        GraphModule.trace(make_branching(), opaque=opaque)


def test_only_modules_are_traced():
    with pytest.raises(GraphError, match="only a module can be traced"):
        GraphModule.trace(torch.relu)


@pytest.mark.parametrize(
    "module",
    [nn.ModuleList([nn.ReLU()]), torch.compile(nn.Linear(2, 2), backend="eager")],
    ids=["ModuleList", "OptimizedModule"],
)
def test_modules_without_a_forward_are_not_traced(module):
    with pytest.raises(GraphError, match=f"^cannot trace {type(module).__name__}, which has no forward of its own$"):
        GraphModule.trace(module)


@pytest.mark.parametrize("copy", [False, True], ids=["shared", "copy"])
def test_a_graph_is_traced_to_itself(copy):
    graph = ResNet(8, width=4).eval()
    traced = GraphModule.trace(graph, copy=copy)
    assert (traced is graph) == (not copy)
    assert traced.names == graph.names
    assert traced.linear.weight is not graph.linear.weight or not copy
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(traced(x), graph(x))


def writes_into_a_view(self, x):
    y = self.conv(x)
    y.flatten(1).mul_(2)
    return y


def writes_into_a_buffer(self, x):
    self.count.add_(1)
    return self.conv(x)


def assigns_to_a_buffer(self, x):
    self.count = self.count + 1
    return self.conv(x) + self.count


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 2, 2)], ids=["no example", "example"])
@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (writes_into_a_view, "'mul' in 'inner' writes in place into memory of 'inner_conv', which is read later on"),
        (writes_into_a_buffer, "'add' in 'inner' writes in place into 'inner.count', which a graph cannot follow"),
        (assigns_to_a_buffer, "the code assigns to 'inner.count', which a graph cannot follow"),
    ],
    ids=["view", "buffer", "assignment"],
)
def test_writing_that_a_graph_cannot_follow_is_refused(forward, message, example):
    inner = network(forward, conv=nn.Conv2d(3, 3, 1), count=nn.Buffer(torch.zeros(1)))
    count = inner.count
    with pytest.raises(GraphError, match=message):
        GraphModule.trace(nn.Sequential(OrderedDict(inner=inner)), example)
    assert inner.count is count


def keeps_what_it_has_seen(self, x):
    self.calls += 1
    self.last = self.conv(x)
    return self.last


def test_attributes_that_the_code_sets_are_left_as_they_were():
    module = network(keeps_what_it_has_seen, conv=nn.Conv2d(3, 3, 1))
    module.calls = 0
    model = GraphModule.trace(module)
    assert module.calls == 0
    assert not hasattr(module, "last")
    assert model.names == ("conv",)


def two_inputs(self, query, key, scale=2.0, *, bias=None):
    result = self.attention(query, key, key, need_weights=False)[0] * scale
    return result if bias is None else result + bias


def test_inputs_are_the_arguments_without_defaults_or_those_of_the_example():
    module = network(two_inputs, attention=nn.MultiheadAttention(4, 2, batch_first=True)).eval()
    query, key, bias = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 3, 4)
    model = GraphModule.trace(module)
    assert model.inputs == ("query", "key")
    assert torch.equal(model(query, key), module(query, key))
    assert model.names == ("attention", "attention.0", "mul")
    model = GraphModule.trace(module, {"query": query, "key": key, "bias": bias})
    assert model.inputs == ("query", "key", "bias")
    assert torch.equal(model(query, key, bias), module(query, key, bias=bias))


def test_surgery_on_a_traced_model():
    module = MODULES["parameters and buffers"]().eval()
    model = GraphModule.trace(module)
    x = torch.randn(2, 3, 4, 4)
    tail = model.submodel(outputs="linear")
    assert torch.equal(tail(x), model(x, outputs="linear")["linear"])
    doubled = model.insert("double_it", operator.neg, after="conv")
    assert torch.equal(doubled(x), model({"input": x, "conv": -module.conv(x)}))


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
    with pytest.raises(GraphError, match=r"test_tracing\.py:\d+: `if length > .*example="):
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


def test_examples_name_arguments_of_forward():
    module = network(two_inputs, attention=nn.MultiheadAttention(4, 2, batch_first=True))
    with pytest.raises(GraphError, match=r"^the example has 'biass', which forward does not take; did you mean 'bias'"):
        GraphModule.trace(module, {"query": torch.zeros(2, 3, 4), "key": torch.zeros(2, 3, 4), "biass": None})


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
