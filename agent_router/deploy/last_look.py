"""The last look at an image on the disk, before it can boot: is it one, and does its GPT fit this disk?"""

from collections.abc import Callable

from agent_router import plugin
from agent_router.image.destinations.disk import Disk
from agent_router.image.formats import plausible
from agent_router.image.protocols import Destination
from agent_router.storage import gpt


def of(allow_unknown_content: bool) -> Callable[[Destination], None]:
    """The last look for a WantedImage."""

    def look(disk: Destination) -> None:
        assert isinstance(disk, Disk)
        refuse_unknown_content(disk, allow_unknown_content)
        correct_gpt(disk)

    return look


def refuse_unknown_content(disk: Disk, allowed: bool) -> None:
    if plausible.content(disk.read(0, plausible.LOOK)) is not None:
        return
    sentence = plausible.unrecognised(disk.source)
    if not allowed:
        message = (
            f'{sentence}; check what the URL returns, or deploy it all the same with "allow_unknown_content": true'
        )
        raise plugin.Failed("unknown_content", message)
    plugin.warn(sentence)


def correct_gpt(disk: Disk) -> None:
    """The backup of a GPT belongs at the end of the disk, wherever it was in the image."""
    found = gpt.fit(disk.read, disk.size, disk.sector)
    if found is None:
        return
    for offset, data in found.writes:
        disk.amend(offset, data)
    if found.made_for > disk.size:
        plugin.warn(
            f"the GPT of {disk.source} was made for a disk of {found.made_for} bytes; "
            f"it was corrected for the {disk.size} bytes of {disk.device}"
        )
    if found.partitions_end > disk.written:
        plugin.warn(
            f"{disk.source} ends at byte {disk.written} and its last partition at byte {found.partitions_end}: "
            "what was on the disk before is still in between"
        )
