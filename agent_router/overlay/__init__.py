"""Plugins packed into an archive that a boot loader adds to the ramdisk: content -> check -> archive (cpio)."""
