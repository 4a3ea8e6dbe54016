"""What a member of an archive may be: only what stays below the directory it is unpacked in.

Names are judged before GNU tar sees their bytes; it defends itself too, but goes on after what it
refused, and a system that lacks a file is worse than none.
"""

import tarfile

from agent_router import plugin

DEVICES = {tarfile.CHRTYPE, tarfile.BLKTYPE}
# GNU and POSIX types that are files, directories and links; anything else a reader must not guess.
KNOWN = {
    tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE,
    tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, *DEVICES,
}  # fmt: skip


class Policy:
    """check() each member in the order of the archive; raises Failed("unsafe_image") with its name."""

    def __init__(self, archive: str, allow_devices: bool) -> None:
        self._archive = archive
        self._allow_devices = allow_devices
        self._links: dict[str, str] = {}  # symbolic links of the archive: where they are, where they lead

    def check(self, member: tarfile.TarInfo) -> None:
        path = self._inside(member.name, member.name)
        if member.type not in KNOWN:
            self._refuse(member.name, f"is of the unknown type {member.type!r}")
        if member.type in DEVICES and not self._allow_devices:
            self._refuse(member.name, 'is a device node; "allow_devices": true unpacks it')
        if member.islnk():
            self._inside(member.linkname, member.name)
        if member.issym():
            self._links[path] = member.linkname
        else:
            self._links.pop(path, None)  # replaced by something that is no link

    def _inside(self, name: str, member: str) -> str:
        """`name` normalized; raises if it leads out, by itself or through a link that came before it."""
        if name.startswith("/"):
            self._refuse(member, f"has the absolute path {name!r}" if name != member else "has an absolute path")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            self._refuse(member, "leads out of the directory by ..")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            target = self._links.get(above)
            if target is not None and leads_out(above, target):
                self._refuse(member, f"would be written through the link {above!r} to {target!r}")
        return "/".join(parts)

    def _refuse(self, member: str, why: str) -> None:
        message = f"{self._archive}: the member {member[:200]!r} {why}"
        raise plugin.Failed("unsafe_image", message, details={"member": member[:4096]})


def leads_out(path: str, target: str) -> bool:
    """Whether the symbolic link at `path` leads above the directory where the archive is unpacked.

    A link of the archive may do so (/etc/mtab is one in every system); writing through it may not.
    """
    if target.startswith("/"):
        return True
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False
