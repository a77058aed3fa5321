"""No password, token or key is in what is recorded, printed or sent; everything else stays as it is."""

from __future__ import annotations

import shlex
from pathlib import PurePath

import pytest

from nnray.redaction import masked_code, masked_command, masked_text, may_hold_secrets, secret_key

LETTERS = "aB3" * 20


@pytest.fixture(autouse=True)
def _variable(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "hunter2-of-wandb")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "hunter2/path")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/etc/keys")


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["sweep", "a b.py", "--set", "x=[1,2]"], "sweep 'a b.py' --set 'x=[1,2]'"),
        (["--mlflow-uri", "https://me:hunter2@host/x"], "--mlflow-uri https://***@host/x"),
        (["--mlflow-uri", "https://me:hun@ter2@host/x"], "--mlflow-uri https://***@host/x"),
        (["--mlflow-uri", "https://me:hun/ter2@host/x"], "--mlflow-uri https://***@host/x"),
        (["--mlflow-uri", "https://host/x?token=hunter2&a=b"], "--mlflow-uri 'https://host/x?token=***&a=b'"),
        (["--store", "s3://b/x?X-Amz-Signature=hunter2"], "--store 's3://b/x?X-Amz-Signature=***'"),
        (["--api-key", "hunter2", "--x"], "--api-key *** --x"),
        (["--api-key=hunter2"], "--api-key=***"),
        (["--set", "task.password=hunter 2"], "--set task.password=***"),
        (["--set", "AWS_SECRET_ACCESS_KEY=hunter2"], "--set AWS_SECRET_ACCESS_KEY=***"),
        (["--set", "x=hunter2-of-wandb"], "--set x=***"),
        (["--token", "--dry-run"], "--token --dry-run"),
        (["--store", "s3://bucket/a@b"], "--store s3://bucket/a@b"),
        (["--address", "http://host:8265/a@b"], "--address http://host:8265/a@b"),
    ],
)
def test_passwords_are_masked_and_the_rest_is_as_a_shell_takes_it(words, masked):
    assert masked_command(words) == masked
    assert "hun" not in masked
    if "***" not in masked:
        assert shlex.split(masked) == words


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("cannot reach postgresql://me:hunter2@db:5432/x, sorry", "cannot reach postgresql://***@db:5432/x, sorry"),
        ("401 for https://x/y?api_key=hunter2&b=1", "401 for https://x/y?api_key=***&b=1"),
        ("connect(user='me', password='hunter2')", "connect(user='me', password='***')"),
        ('{"password": "hunter2", "n": 1}', '{"password": "***", "n": 1}'),
        ("DB_PASSWORD=hunter2 was refused", "DB_PASSWORD=*** was refused"),
        ("Authorization: Bearer hunter2.hunter2", "Authorization: Bearer ***"),
        ("the key hunter2-of-wandb is wrong", "the key *** is wrong"),
        *((f"use {shape} here", "use *** here") for shape in (
            "AKIAHUNTER2HUNTER234", f"ghp_{LETTERS}", f"github_pat_{LETTERS}", f"glpat-{LETTERS}", f"hf_{LETTERS}",
            f"sk-{LETTERS}", f"xoxb-{LETTERS}", f"AIza{LETTERS[:35]}", f"eyJ{LETTERS}.eyJ{LETTERS}.{LETTERS}",
        )),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN ***-----END RSA PRIVATE KEY-----",
        ),
    ],
)  # fmt: skip
def test_secrets_in_text_are_masked(text, masked):
    assert masked_text(text) == masked
    assert masked_text(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "epoch 3: loss=0.5 tokens=128 val_token_acc=0.5 token=3",
        "basic training of networks; the password must be given",
        "see https://github.com/x/y/blob/a@b and git@github.com:x/y",
        "task-aaaaaaaaaaaaaaaaaaaaaaaa1 s3://bucket/a@b hf_model path hunter2/path /etc/keys",
        'f"https://{user}:{password}@{host}"',
    ],
)
def test_other_text_stays_as_it_is(text):
    assert masked_text(text) == text


@pytest.mark.parametrize(
    ("name", "text", "masked"),
    [
        ("a.py", "+password = 'hunter2'\n", "+password = '***'\n"),
        ("a.py", '+DB_PASSWORD: str = "hunter2"', '+DB_PASSWORD: str = "***"'),
        ("a.py", "-os.environ['DB_PASSWORD'] = 'hunter2'", "-os.environ['DB_PASSWORD'] = '***'"),
        ("a.py", "+password = getpass()\n+token = '[CLS]'\n+secret: str", None),
        ("a.yaml", "+db:\n+  password: hunter2\n+  user: me", "+db:\n+  password: ***\n+  user: me"),
        ("a.yaml", "password:\n  user: me\nnum_tokens: 5", None),
        ("a.sh", "+export GITHUB_TOKEN=hunter2", "+export GITHUB_TOKEN=***"),
    ],
)
def test_in_code_only_literals_are_secrets(name, text, masked):
    assert masked_code(text, PurePath(name)) == (text if masked is None else masked)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"data": {"init_args": {"root": "s3://me:hunter2@bucket/x"}}}, "data.init_args.root"),
        ({"data": {"init_args": {"password": "hunter2"}}}, "data.init_args.password"),
        ({"a": [1, {"api_key": "x"}]}, "a.api_key"),
        ({"a": {"token": "[CLS]", "tokens": 5, "password": None, "key": "value", "root": "s3://bucket/a"}}, None),
    ],
)
def test_plain_data_with_a_secret_is_found_by_its_key(values, key):
    assert secret_key(values) == key


@pytest.mark.parametrize("name", [".env", "prod.env", ".netrc", "id_rsa", "a.pem", "credentials.json", ".aws/config"])
def test_files_that_secrets_are_kept_in_are_told_by_their_names(name):
    assert may_hold_secrets(PurePath("some", name))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokens.py", "keys.yaml", "environment.yml", "secrets.py"])
def test_other_files_are_not(name):
    assert not may_hold_secrets(PurePath(name))


@pytest.mark.parametrize("piece", ["://", "://a:", "sk-", "eyJ-", "a.", "password ", "?a", "-----BEGIN PRIVATE KEY-"])
def test_long_text_takes_time_in_proportion(piece):
    masked_text(piece * (300_000 // len(piece)))  # hours, if an expression backtracks
    masked_code(piece * (300_000 // len(piece)), PurePath("a.yaml"))
