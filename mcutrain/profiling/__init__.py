"""Profiles: what each kernel call of a training step takes, by layer and direction.

The device counts (:mod:`mcutrain.device.profile`), the manifest says what the
calls compute; here the two are put together, summed and drawn.
"""

from mcutrain.profiling.measuring import STEP, generated_inputs, profile, programs_of
from mcutrain.profiling.model import FORMAT, Call, Profile, ProgramProfile, Row, merge
from mcutrain.profiling.naming import direction_of, layer_of
from mcutrain.profiling.timeline import timeline

__all__ = [
    "FORMAT",
    "STEP",
    "Call",
    "Profile",
    "ProgramProfile",
    "Row",
    "direction_of",
    "generated_inputs",
    "layer_of",
    "merge",
    "profile",
    "programs_of",
    "timeline",
]
