"""Mutated files of clusters and experiments; each follows from its seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
VALUES = (
    "", "-1", "0", "1e-3", "1e400", "nan", "null", "~", "yes", "no", "on", "[]", "{}", "[1, 2]", "{a: 1}", "2001-01-01",
    "99999999999999999999999", "1:30", "0x1F", "'", '"', "|", ">", "!Tag", "!!python/object:os.system ls",
    "!AWSCluster", "&a", "*a", "*unknown", "\t", "\x00", "\x1b[2J", "é", "日本", "\U0001f600", "..",
    "/", "~/x", "$(reboot)", "`id`",
    "${{ x }}", "{{ x }}", "%", "@", "a" * 5000, "[" * 400, "- " * 400, "<<: *a", "? a", "---", "...", "# c",
)  # fmt: skip


def list_sources() -> list[tuple[str, str]]:
    """List the texts that are mutated, as (kind, text): the examples, and the YAML blocks of the documentation."""
    texts = [path.read_text() for path in sorted((ROOT / "examples").rglob("*.yaml"))]
    for page in sorted((ROOT / "docs").glob("*.md")):
        texts += re.findall(r"```ya?ml\n(.*?)```", page.read_text(), re.DOTALL)
    return [("cluster" if re.search(r"^!\w+Cluster\b", text, re.MULTILINE) else "experiment", text) for text in texts]


def mutate(seed: int, sources: list[tuple[str, str]]) -> tuple[str, bytes]:
    """Return the kind of a file, and its content after one to five changes."""
    chosen = random.Random(seed)
    kind, text = chosen.choice(sources)
    for _ in range(chosen.randint(1, 5)):
        text = chosen.choice(CHANGES)(text, chosen)
    content = text.encode(errors="surrogatepass")
    return kind, _damage(content, chosen) if chosen.random() < 0.1 else content


def _damage(content: bytes, chosen: random.Random) -> bytes:
    place = chosen.randrange(len(content) + 1)
    return chosen.choice(
        (
            content[:place],
            content[:place] + bytes([chosen.randrange(256)]) + content[place:],
            b"\xef\xbb\xbf" + content,
            content.decode(errors="replace").encode("utf-16"),
            content.replace(b"\n", b"\r\n"),
        )
    )


def _pick_line(text: str, chosen: random.Random) -> tuple[list[str], int]:
    lines = text.split("\n")
    return lines, chosen.randrange(len(lines))


def _delete_line(text: str, chosen: random.Random) -> str:
    lines, place = _pick_line(text, chosen)
    return "\n".join(lines[:place] + lines[place + 1 :])


def _repeat_line(text: str, chosen: random.Random) -> str:
    lines, place = _pick_line(text, chosen)
    return "\n".join([*lines[:place], lines[place], *lines[place:]])


def _swap_lines(text: str, chosen: random.Random) -> str:
    lines, place = _pick_line(text, chosen)
    other = chosen.randrange(len(lines))
    lines[place], lines[other] = lines[other], lines[place]
    return "\n".join(lines)


def _indent_line(text: str, chosen: random.Random) -> str:
    lines, place = _pick_line(text, chosen)
    lines[place] = chosen.choice((" ", "  ", "\t", "- ")) + lines[place] if chosen.random() < 0.7 else lines[place][1:]
    return "\n".join(lines)


def _replace_value(text: str, chosen: random.Random) -> str:
    lines, place = _pick_line(text, chosen)
    name, colon, _ = lines[place].partition(":")
    lines[place] = f"{name}{colon} {chosen.choice(VALUES)}"
    return "\n".join(lines)


def _rename_key(text: str, chosen: random.Random) -> str:
    lines, place = _pick_line(text, chosen)
    lines[place] = re.sub(r"\w+", lambda match: match[0][:-1] or "x", lines[place], count=1)
    return "\n".join(lines)


def _insert_text(text: str, chosen: random.Random) -> str:
    place = chosen.randrange(len(text) + 1)
    return text[:place] + chosen.choice(VALUES) + text[place:]


def _delete_text(text: str, chosen: random.Random) -> str:
    place = chosen.randrange(len(text) + 1)
    return text[:place] + text[place + chosen.randint(1, 20) :]


CHANGES: tuple[Callable[[str, random.Random], str], ...] = (
    _delete_line,
    _repeat_line,
    _swap_lines,
    _indent_line,
    _replace_value,
    _replace_value,
    _rename_key,
    _insert_text,
    _delete_text,
)
