"""Read from an NBD server: as much of the protocol as reading takes.

https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, fixed newstyle with simple replies. Numbers are
big-endian. The server here is qemu-nbd on a socket of this machine.
"""

import socket
import struct

PIECE = 256 << 10  # several requests are under way for one buffer
_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">I8sII")  # the client's flags, then IHAVEOPT, option, length
_EXPORT = struct.Struct(">QH")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_EXPORT_NAME = 1
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_READ, _DISCONNECT = 0, 2


class Nbd:
    """A connection to the export without a name; `size` in bytes. Raises OSError for whatever goes wrong."""

    def __init__(self, path: str, greeting_s: float, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(greeting_s)
        try:
            self._socket.connect(path)
            magic, option, flags = _GREETING.unpack(self._take(_GREETING.size))
            if (magic, option) != (b"NBDMAGIC", b"IHAVEOPT") or not flags & _NO_ZEROES:
                raise OSError("not an NBD server that this client understands")
            self._socket.sendall(_OPTION.pack(_FIXED_NEWSTYLE | _NO_ZEROES, b"IHAVEOPT", _EXPORT_NAME, 0))
            self.size: int = _EXPORT.unpack(self._take(_EXPORT.size))[0]
            self._socket.settimeout(timeout_s)
        except BaseException:
            self._socket.close()
            raise

    def read(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`, which must lie inside the export. All its pieces are asked for at once."""
        starts = range(0, len(buffer), PIECE)
        lengths = {start: min(PIECE, len(buffer) - start) for start in starts}
        asked = [_REQUEST.pack(_REQUEST_MAGIC, 0, _READ, at, offset + at, size) for at, size in lengths.items()]
        self._socket.sendall(b"".join(asked))
        while lengths:
            magic, error, start = _REPLY.unpack(self._take(_REPLY.size))
            if magic != _REPLY_MAGIC or start not in lengths:
                raise OSError("the NBD server sent an unexpected reply")
            if error:
                raise OSError(error, f"read error at byte {offset + start}")
            self._fill(buffer[start : start + lengths.pop(start)])

    def close(self) -> None:
        try:
            self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))
        except OSError:
            pass  # it is gone already
        finally:
            self._socket.close()

    def _take(self, length: int) -> bytes:
        data = bytearray(length)
        self._fill(memoryview(data))
        return bytes(data)

    def _fill(self, view: memoryview) -> None:
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise ConnectionResetError("the NBD server is gone")
            view = view[count:]
