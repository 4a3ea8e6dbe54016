"""Take the secrets of an ended command out of the files that are kept of it."""

from agent_router.plugin.masking import mask


def files(base: str, hidden: list[str]) -> None:
    """Mask log and event stream in place. The list of secrets itself is dropped with the request, by the runner."""
    for name in ("log", "stream"):
        try:
            with open(f"{base}/{name}", "r+b") as file:
                text = file.read().decode(errors="replace")
                masked = mask(text, hidden)
                if masked != text:
                    file.seek(0)
                    file.write(masked.encode())
                    file.truncate()
        except OSError:
            continue
