"""Which files of code differ between two states of a repository, as records of trials tell them."""

from __future__ import annotations

from pathlib import Path

from nnray.training.code import CUT, Code, git_output

_SUFFIX = ".py"


def changed_code(folder: Path, then: Code, now: Code) -> frozenset[str] | None:
    """Return the Python files tracked ``then`` whose content is another ``now``, or that are gone.

    Whether content was committed makes no difference, and a file added since is no change: nothing of ``then`` ran it.

    Args:
        folder: Lies in the repository.
        then: A state of it.
        now: Another.

    Returns:
        Paths from the repository's root, or None where that cannot be told: a commit is not in the repository, or a
        diff was too long to be kept whole.
    """
    if then == now:
        return frozenset()
    before, after = (_python_files(folder, code) for code in (then, now))
    if before is None or after is None:
        return None
    return frozenset(path for path, content in before.items() if not _same(content, after.get(path)))


def tracked_name(path: Path) -> str | None:
    """Return ``path`` from the root of the repository that tracks it, None if none does."""
    names = git_output(path.absolute().parent, "ls-files", "-z", "--full-name", "--", path.name)
    return names.partition("\0")[0] if names else None


def _python_files(folder: Path, code: Code) -> dict[str, str] | None:
    """Return the hash of the content of each tracked Python file: the commit's, and over those the diff's."""
    diff = code.diff or ""
    if code.commit is None or CUT in diff:
        return None
    tree = git_output(folder, "ls-tree", "-r", "-z", "--full-tree", code.commit)
    edited = _contents_in(diff)
    if tree is None or edited is None:
        return None
    entries = (entry.partition("\t") for entry in tree.split("\0") if entry)
    files = {path: facts.split()[2] for facts, _, path in entries} | edited
    return {path: content for path, content in files.items() if path.endswith(_SUFFIX) and content.strip("0")}


def _contents_in(diff: str) -> dict[str, str] | None:
    """Return the hashes of content (zeros for none) that a diff of git leads to; None if it isn't understood."""
    contents = {}
    path = ""
    for line in diff.split("\n"):  # lines of content begin with a blank, a sign or a backslash
        if line.startswith("diff --git "):
            names = line.removeprefix("diff --git ")
            path = names[2 : len(names) // 2]
            if names != f"a/{path} b/{path}":  # a renamed file, or a name in quotes
                return None
        elif line.startswith("index ") and path:
            contents[path] = line.split()[1].partition("..")[2]
    return contents


def _same(one: str, other: str | None) -> bool:
    """Tell whether two hashes are equal as far as both are written out."""
    return other is not None and (one.startswith(other) or other.startswith(one))
