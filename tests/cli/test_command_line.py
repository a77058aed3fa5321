"""What is recorded of a command line holds no passwords."""

from __future__ import annotations

import shlex

import pytest

from nnray.cli.command_line import masked_command


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["sweep", "a b.py", "--set", "x=[1,2]"], "sweep 'a b.py' --set 'x=[1,2]'"),
        (["--mlflow-uri", "https://me:hunter2@host/x"], "--mlflow-uri https://***@host/x"),
        (["--mlflow-uri", "https://host/x?token=hunter2&a=b"], "--mlflow-uri 'https://host/x?token=***&a=b'"),
        (["--api-key", "hunter2", "--x"], "--api-key *** --x"),
        (["--api-key=hunter2"], "--api-key=***"),
        (["--set", "task.password=hunter 2"], "--set task.password=***"),
        (["--set", "AWS_SECRET_ACCESS_KEY=hunter2"], "--set AWS_SECRET_ACCESS_KEY=***"),
        (["--token", "--dry-run"], "--token --dry-run"),
        (["--store", "s3://bucket/a@b"], "--store s3://bucket/a@b"),
    ],
)
def test_passwords_are_masked_and_the_rest_is_as_a_shell_takes_it(words, masked):
    assert masked_command(words) == masked
    assert "hunter" not in masked
    if "***" not in masked:
        assert shlex.split(masked) == words
