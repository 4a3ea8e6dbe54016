"""Files of the state directory that the runner writes and others read."""

SEPARATOR = b",\n"  # between the records of `history`


def command_dir(state: str, id: str) -> str:
    """Where the files of one command are: stdin, out, log, events, stream, secrets and its working directory."""
    return f"{state}/c/{id}"


def tail(path: str, length: int = 4096) -> bytes:
    """The last bytes of a file; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - length))
            return file.read(length)
    except OSError:
        return b""
