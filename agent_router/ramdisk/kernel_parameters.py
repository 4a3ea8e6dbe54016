"""The kernel command line, through which a boot loader or Ironic tells the ramdisk what to do."""

from pathlib import Path

CMDLINE = Path("/proc/cmdline")


def read(path: Path = CMDLINE) -> dict[str, str]:
    """The parameters of the running kernel, {name: value}; a word without "=" has the value ""."""
    return parse(path.read_text(errors="replace"))


def parse(line: str) -> dict[str, str]:
    """Split as the kernel does: at blanks outside double quotes; the last of several wins."""
    found: dict[str, str] = {}
    for word in words(line):
        name, _, value = word.partition("=")
        found[name] = value
    return found


def words(line: str) -> list[str]:
    made: list[str] = []
    word, quoted = "", False
    for character in line.strip():
        if character == '"':
            quoted = not quoted
        elif character.isspace() and not quoted:
            made.append(word)
            word = ""
        else:
            word += character
    return [one for one in [*made, word] if one]
