"""Passwords, tokens and keys, kept out of everything that is recorded, logged, mirrored, printed or sent to a cluster.

What is found: values of environment variables whose names speak of a secret, user and password in URIs, signatures in
the queries of URIs, strings of the shapes that well-known services give to their tokens, private keys, and text that is
assigned to a name such as ``password``. Each becomes ``***``. A secret that looks like any other text cannot be told.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

MASK = "***"

_WORD = r"(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
_NAME = (  # that of a secret in code and text, where a token mostly is a part of a sentence
    r"(?:password|passwd|passphrase|(?<![a-z])pwd|secret(?:[_-]?(?:access[_-]?)?key)?|api[_-]?key|access[_-]?key(?:[_-]id)?"
    r"|private[_-]?key|account[_-]?key"
    r"|(?:auth|access|api|bearer|bot|refresh|session|hf|hub|github|gitlab|wandb|slack|personal)[_-]?token)"
)
_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bsk-(?=[\w-]{0,99}\d)[\w-]{20,}|\bxox[abeprs]-[\w-]{10,}|\bAIza[\w-]{35}"
    r"|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}|\bdapi[0-9a-f]{32}\b"
    r"|\beyJ[\w-]{8,2000}\.eyJ[\w-]{8,2000}\.[\w-]{8,}"
    r"|(?<=-----BEGIN )(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----.*?(?=-----END |\Z)",
    re.DOTALL,
)
_BEGINNINGS = (
    "AKIA",
    "ASIA",
    "gh",
    "github_pat_",
    "glpat-",
    "hf_",
    "sk-",
    "xox",
    "AIza",
    "npm_",
    "pypi-",
    "dapi",
    "eyJ",
    "PRIVATE KEY",
)
_HEADER = re.compile(r"(?i)(?<=\bbearer )[\w.~+/=-]{8,}|(?<=\bbasic )[\w+/]{8,}={0,2}(?![\w ])")
_OF_URI = r"\s'\"{}$<>"
_IN_URI = re.compile(
    rf"(?<=://)(?:[^/{_OF_URI}]{{1,300}}|[^/@:{_OF_URI}]{{0,300}}:(?!\d+/)[^@{_OF_URI}]{{0,300}})(?=@)"
)
_IN_QUERY = re.compile(
    rf"(?i)([?&](?:[\w.-]{{0,40}}{_WORD}[\w.-]{{0,40}}|sig|x-amz-(?:signature|credential))=)[^&\s'\"]+"
)
_IN_PAIR = re.compile(rf"(?i)([\w.-]{{0,80}}{_WORD}[\w.-]{{0,80}}=)[^&]+")
_OPTION = re.compile(rf"(?i)--?[\w.-]{{0,80}}{_WORD}[\w.-]{{0,80}}")
_QUOTED = re.compile(
    rf"(?i)({_NAME}['\"\])]{{0,4}}\s{{0,9}}(?::\s?str\s)?[:=]\s{{0,9}}[rbf]{{0,2}}(['\"]))(?!\2)[^'\"\n]+(?=\2)"
)
_SAID = re.compile(rf"(?i)({_NAME}['\"\])]{{0,4}}\s{{0,9}}[:=]\s{{0,9}})(?!['\"\s*])[^\s'\",;)]+")
_LINE = re.compile(
    rf"(?im)^([+\- ]?[ \t]*(?:export[ \t]+)?(?:[\w.-]{{0,60}}{_NAME}|(?-i:[A-Z0-9_]{{0,60}}TOKEN)|token)"
    r"[ \t]*[:=][ \t]*)"
    r"(?!['\"\s*])\S[^\n]*$"
)
_HINTS = re.compile(r"(?i)pass|pwd|secret|key|token|://|basic |bearer ")
_KEY = re.compile(rf"(?i)(?:.*[._-])?{_NAME}")

_VARIABLE = re.compile(rf"(?i)(?:.*_)?(?:{_WORD}|pwd|pat)s?(?:_id)?")
_SHORTEST_VALUE = 6
"""Shorter values of environment variables stand for too much else."""

_SECRET_FILE = re.compile(
    r"\.env(\..*)?|.*\.env|\.envrc|[._]netrc|\.pypirc|\.npmrc|\.pgpass|\.my\.cnf|\.s3cfg|\.boto|\.dockercfg|\.htpasswd"
    r"|\.git-credentials|kubeconfig|id_(rsa|dsa|ecdsa|ed25519)(_sk)?(\.pub)?"
    r"|.*\.(pem|key|p8|p12|pfx|jks|keystore|kdbx|ppk|gpg|asc|age)|(.*[._-])?service[_-]?account([._-].*)?\.json"
    r"|(.*[._-])?(secrets?|credentials?|passwords?|tokens?|api[_-]?keys?)([._-].*)?",
    re.IGNORECASE,
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".azure", ".kube", ".docker", "gcloud", ".ray"})


def may_hold_secrets(path: PurePath) -> bool:
    """Tell whether a file's name, or that of a folder in its path, is one that secrets are kept under.

    Such files are neither recorded nor sent to a cluster. Code in Python is never meant: its name is its topic.
    """
    named_so = path.suffix != ".py" and _SECRET_FILE.fullmatch(path.name) is not None
    return named_so or not _SECRET_FOLDERS.isdisjoint(path.parts)


def masked_text(text: str) -> str:
    """Return ``text`` (an error, a traceback, what a trial prints) with secrets as ``***``."""
    text = _unmistakable(text)
    return _SAID.sub(rf"\g<1>{MASK}", _QUOTED.sub(rf"\g<1>{MASK}", text)) if _HINTS.search(text) else text


def masked_code(text: str, name: PurePath) -> str:
    """Return the text of a file, or lines of a diff of it, with secrets as ``***``.

    In Python only quoted text is a secret (``password = getpass()`` is none); in other files also the rest of a line.
    """
    text = _QUOTED.sub(rf"\g<1>{MASK}", _unmistakable(text))
    return text if name.suffix in (".py", ".pyi", ".ipynb", ".md") else _LINE.sub(rf"\g<1>{MASK}", text)


def masked_command(words: Sequence[str]) -> str:
    """Return ``words`` as a shell takes them, with passwords and tokens as ``***``: in URIs, options and KEY=VALUE."""
    shown: list[str] = []
    for word in words:
        if shown and _OPTION.fullmatch(shown[-1]) and not word.startswith("--"):
            shown.append(MASK)
        else:
            shown.append(_IN_PAIR.sub(rf"\g<1>{MASK}", _unmistakable(word)))
    return " ".join(_shell_word(word) for word in shown)


def secret_key(values: Mapping[str, Any]) -> str | None:
    """Return the dotted key of the first text in plain data that is a secret, None if there is none."""
    return next(_secret_keys("", values), None)


def _secret_keys(prefix: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _secret_keys(f"{prefix}.{key}" if prefix else str(key), entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _secret_keys(prefix, entry)
    elif isinstance(value, str) and value and (_KEY.fullmatch(prefix) or _unmistakable(value) != value):
        yield prefix


def _unmistakable(text: str) -> str:
    """Mask what is a secret wherever it stands."""
    for value in _values_of_variables():
        text = text.replace(value, MASK)
    if any(beginning in text for beginning in _BEGINNINGS):
        text = _SHAPES.sub(MASK, text)
    if not _HINTS.search(text):
        return text
    if "://" in text:
        text = _IN_QUERY.sub(rf"\g<1>{MASK}", _IN_URI.sub(MASK, text))
    return _HEADER.sub(MASK, text)


def _values_of_variables() -> list[str]:
    """Return the secrets in the environment, the longest first; where a file lies is none."""
    values = {value for name, value in os.environ.items() if _names_secret(name)}
    secret = [value for value in values if len(value) >= _SHORTEST_VALUE and not value.startswith(("/", "~"))]
    return sorted(secret, key=lambda value: (-len(value), value))


@functools.lru_cache(maxsize=4096)
def _names_secret(variable: str) -> bool:
    return _VARIABLE.fullmatch(variable) is not None


def _shell_word(word: str) -> str:
    bare = word.replace(MASK, "x")
    return word if shlex.quote(bare) == bare else shlex.quote(word)
