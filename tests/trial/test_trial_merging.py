"""Nested dicts, dotted keys and files laid over each other."""

import pytest

from nnray.errors import ConfigurationError
from nnray.trial import flatten, merge, parse_assignments, read_configuration_file
from nnray.trial.merging import full_key
from nnray.trial.yaml_loader import load_yaml

RESNET = {"model": {"class_path": "nnray.models.ResNet", "init_args": {"depth": 20, "width": 16}}}


def model(merged):
    return merged["model"]["class_path"], merged["model"].get("init_args", {})


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"model.width": 8}, ("nnray.models.ResNet", {"depth": 20, "width": 8})),
        ({"model.init_args.width": 8}, ("nnray.models.ResNet", {"depth": 20, "width": 8})),
        ({"model": {"width": 8}}, ("nnray.models.ResNet", {"depth": 20, "width": 8})),
        ({"model": {"init_args": {"width": 8}}}, ("nnray.models.ResNet", {"depth": 20, "width": 8})),
        ({"model": "nnray.models.ResNet"}, ("nnray.models.ResNet", {"depth": 20, "width": 16})),
        ({"model": "ResNet"}, ("ResNet", {"depth": 20, "width": 16})),
        ({"model": "nnray.models.resnet.ResNet"}, ("nnray.models.resnet.ResNet", {"depth": 20, "width": 16})),
        ({"model": "nnray.models.MLP"}, ("nnray.models.MLP", {})),
        ({"model": "mine.ResNet"}, ("mine.ResNet", {})),
        ({"model.class_path": "MLP"}, ("MLP", {})),
        ({"model": "MLP", "model.width": 8}, ("MLP", {"width": 8})),
        ({"model.width": 8, "model": "MLP"}, ("MLP", {"width": 8})),
        ({"model.width": 8, "model.class_path": "MLP"}, ("MLP", {"width": 8})),
        ({"model": {"class_path": "MLP", "init_args": {"width": 8}}}, ("MLP", {"width": 8})),
    ],
)
def test_another_class_path_starts_from_that_class(update, expected):
    assert model(merge(RESNET, update)) == expected


def test_arguments_wait_for_their_class():
    assert model(merge({}, {"model.width": 8}, {"model": "MLP"})) == ("MLP", {"width": 8})


def test_null_takes_a_component_away_with_its_arguments():
    assert merge(RESNET, {"model": None}) == {"model": None}
    assert model(merge(RESNET, {"model": None}, {"model": "ResNet"})) == ("ResNet", {})


def test_later_updates_win_and_none_is_changed():
    one, two, three = (
        {"trainer.max_epochs": 1},
        {"trainer": {"max_epochs": 2, "precision": "a"}},
        {"trainer.max_epochs": 3},
    )
    assert merge({}, one, two, three) == {"trainer": {"max_epochs": 3, "precision": "a"}}
    assert merge({}, three, two, one) == {"trainer": {"max_epochs": 1, "precision": "a"}}
    assert two == {"trainer": {"max_epochs": 2, "precision": "a"}}


def test_lists_are_replaced_whole_and_not_shared():
    augment = [{"class_path": "A"}]
    merged = merge({"data.augment": [1, 2, 3]}, {"data.augment": augment})
    assert merged["data"]["init_args"]["augment"] == augment
    merged["data"]["init_args"]["augment"][0]["class_path"] = "B"
    assert augment == [{"class_path": "A"}]


@pytest.mark.parametrize("key", ["", ".", "a..b", ".a", "a.", 3, None, ("a", "b")])
def test_what_is_not_a_key_is_refused(key):
    with pytest.raises(ConfigurationError, match="is not a configuration key: a name, or names joined by dots"):
        merge({}, {key: 1})


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("seed", "seed"),
        ("model", "model"),
        ("model.width", "model.init_args.width"),
        ("model.init_args.width", "model.init_args.width"),
        ("model.class_path", "model.class_path"),
        ("trainer.max_epochs", "trainer.max_epochs"),
    ],
)
def test_a_full_key_holds_its_init_args(key, expected):
    assert full_key(key) == expected


def test_flatten():
    nested = {"a": 1, "b": {"c": [1, {"d": 2}], "e": {}}, "model": {"class_path": "X", "init_args": {}}}
    assert flatten(nested) == {"a": 1, "b.c": [1, {"d": 2}], "b.e": {}, "model.class_path": "X"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-1e+3", -1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("3", 3),
        ("0", 0),
        ("1_000", 1000),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("2024-01-02", "2024-01-02"),
        ("-.inf", float("-inf")),
        ("e5", "e5"),
        ("1e", "1e"),
        ("v1.2.3", "v1.2.3"),
        ("[1, 1e-3]", [1, 0.001]),
        ("{a: 1}", {"a": 1}),
        ("'1'", "1"),
    ],
)
def test_yaml_as_people_expect_it(text, value):
    read = load_yaml(text)
    assert read == value
    assert type(read) is type(value)


def test_assignments_are_read_as_yaml():
    words = ["optimizer.lr=1e-3", "model.width=8", "source=a=b", "lr_scheduler=null", "data.augment=[]"]
    assert parse_assignments(words) == {
        "optimizer.lr": 0.001,
        "model.width": 8,
        "source": "a=b",
        "lr_scheduler": None,
        "data.augment": [],
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lr", "'lr' is not of the form KEY=VALUE"),
        ("=3", "'=3' is not of the form KEY=VALUE"),
        ("lr=[1", r"lr: '\[1' is not a YAML value"),
        ("lr={a: 1, a: 2}", "lr: '{a: 1, a: 2}' is not a YAML value"),
    ],
)
def test_assignments_that_are_none(word, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_assignments([word])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"seed: 1\nmodel: MLP\nseed: 2\n",
            r"config\.yaml is not YAML: the key 'seed' stands twice.* line 3, column 1",
        ),
        (b"model: {class_path: A, class_path: B}\n", "the key 'class_path' stands twice"),
        (b"seed: [1\n", r"config\.yaml is not YAML: .*line 2"),
        (b"- 1\n- 2\n", "holds a list, where a mapping of keys to values is expected"),
        (b"just text\n", "holds a str, where a mapping"),
        (b"a: \xff\n", "it is not UTF-8 text"),
        (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ],
)
def test_files_that_hold_no_configuration(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_configuration_file(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read configuration .*none\.yaml: No such file"):
        read_configuration_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_configuration_file(tmp_path)


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_configuration_file(tmp_path / "empty.yaml") == {}


def test_anchors_and_merge_keys_work(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n")
    assert read_configuration_file(path)["y"] == {"a": 1, "b": 3}
