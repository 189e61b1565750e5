"""A repository that the real git writes, byte by byte, and what git shows of it."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

GIT_ALONE = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_COMMITTER_NAME": "Committer",
    "GIT_COMMITTER_EMAIL": "committer@example.org",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
}
"""Nothing of the machine's settings."""

Files = Mapping[bytes, bytes]


class RealGit:
    """A bare repository. Its files are given by their paths, which are bytes."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        command = ["git", "init", "-q", "--bare", "-b", "main", *options, str(path)]
        subprocess.run(command, check=True, env=dict(os.environ) | GIT_ALONE)

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git, and return what it prints."""
        return subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            check=True,
            env=dict(os.environ) | GIT_ALONE,
        ).stdout

    def trees(self, trees: Sequence[Files]) -> list[str]:
        """Write trees, and return their IDs."""
        stream = b""
        for number, files in enumerate(trees, 1):
            stream += b"commit refs/trees\nmark :%d\ncommitter C <c> 0 +0000\ndata 0\n" % number
            stream += b"deleteall\n"
            for path, content in files.items():
                quoted = "".join(f"\\{byte:03o}" for byte in path)
                stream += f'M 100644 inline "{quoted}"\ndata {len(content)}\n'.encode()
                stream += content + b"\n"
        marks = self.path / "marks"
        self.run("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=stream)
        told = dict(line.split() for line in marks.read_text().splitlines())
        self.run("update-ref", "-d", "refs/trees")
        commits = [told[f":{number}"] for number in range(1, len(trees) + 1)]
        return self.run("rev-parse", *(f"{commit}^{{tree}}" for commit in commits)).decode().split()

    def commit(
        self,
        tree: str,
        parents: Sequence[str] = (),
        author: bytes = b"Ann <ann@example.org> 1700000000 +0000",
        committer: bytes = b"C <c@example.org> 1700000000 +0000",
        encoding: bytes = b"",
    ) -> str:
        """Write a commit as it is given, which main is at then."""
        lines = [b"tree " + tree.encode(), *(b"parent " + parent.encode() for parent in parents)]
        lines += [b"author " + author, b"committer " + committer]
        lines += [b"encoding " + encoding] if encoding else []
        raw = b"\n".join([*lines, b"", b"message\n"])
        written = self.run("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw)
        commit = written.decode().strip()
        self.run("update-ref", "refs/heads/main", commit)
        return commit

    def commit_files(self, files: Files, parents: Sequence[str] = (), **headers: bytes) -> str:
        """Write a commit of these files."""
        return self.commit(self.trees([files])[0], parents, **headers)

    def touched(self, commit: str) -> set[bytes]:
        """Return the paths in which a commit differs from any of its parents."""
        options = ("-r", "-m", "-z", "--root", "--no-commit-id", "--name-only")
        return set(filter(None, self.run("diff-tree", *options, commit).split(b"\0")))

    def files(self, commit: str) -> dict[bytes, bytes]:
        """Return the files at a commit."""
        listed = [each for each in self.run("ls-tree", "-r", "-z", commit).split(b"\0") if each]
        ids = {path: head.split()[2] for head, path in (each.split(b"\t", 1) for each in listed)}
        printed = self.run("cat-file", "--batch", stdin=b"\n".join([*ids.values(), b""]))
        found = {}
        for path in ids:
            head, _, printed = printed.partition(b"\n")
            size = int(head.split()[2])
            found[path], printed = printed[:size], printed[size + 1 :]
        return found

    def shown(self, commit: str) -> tuple[bytes, bytes, bytes]:
        """Return name and address of a commit's author, and the time, as `git log` has them."""
        told = self.run("log", "-1", "--encoding=UTF-8", "--format=%aN%x00%aE%x00%at", commit)
        name, email, at = told.removesuffix(b"\n").split(b"\0")
        return name, email, at
