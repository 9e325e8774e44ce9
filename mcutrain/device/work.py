"""What a device's requests have taken, as it counts it: ``targets/runtime/work.h`` is the other side."""

from __future__ import annotations

import struct

from mcutrain.device.framing import Command
from mcutrain.device.requests import Requester
from mcutrain.errors import DeviceError, LinkError
from mcutrain.manifest import Manifest
from mcutrain.work import Tally, Work

_LAYOUT = 1
_HEAD = struct.Struct("<3I")
_TALLY = struct.Struct("<IQ")
#: Kinds before those of the Programs, as :class:`Work` has them: memory, store, blank, erased, written.
_KINDS = 5


def read_work(requester: Requester, manifest: Manifest) -> Work | None:
    """What ``requester``'s device has done since it started; None of firmware that does not count it.

    Raises:
        LinkError: the response is malformed.
    """
    try:
        body = requester.request(Command.WORK)
    except DeviceError:
        return None
    if len(body) < _HEAD.size:
        raise _malformed()
    layout, rate, programs = _HEAD.unpack_from(body)
    if layout != _LAYOUT or len(body) != _HEAD.size + _TALLY.size * (_KINDS + programs):
        raise _malformed()
    tallies = [Tally(*pair) for pair in _TALLY.iter_unpack(body[_HEAD.size :])]
    names = [program.name for program in manifest.programs]
    memory, store, blank, erased, written = tallies[:_KINDS]
    return Work(rate, memory, store, blank, erased, written, dict(zip(names, tallies[_KINDS:], strict=False)))


def _malformed() -> LinkError:
    return LinkError(
        "the device's count of its work is not as this mcutrain knows it",
        "compile the model again with this version and flash it",
    )
