"""A build: what ``compile`` made, and everything that can be done with it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain.compiler.onnx_io import load_model, save_model
from mcutrain.compiler.pipeline import MODEL_FILE, STATE_FOLDER, Model, compile_model, lower
from mcutrain.errors import BuildError, OptionError
from mcutrain.executor import Array
from mcutrain.hoststore import HostStore
from mcutrain.learning import Learner
from mcutrain.manifest import Loss, Manifest, Optimizer, Options, Precision, TileChoice
from mcutrain.reference import Reference
from mcutrain.targets import Target, find_target

if TYPE_CHECKING:
    from mcutrain.device.transport import Transport

#: In the state folder: the flash of a simulator, the store of the reference.
FLASH_FILE, REFERENCE_FILE = "flash.bin", "reference.store"


class Build:
    """A compiled model in its directory.

    ``session()`` runs it on a device or simulator, ``reference()`` in NumPy;
    both give a :class:`~mcutrain.learning.Learner`.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, state: Path | None = None) -> None:
        self.directory = directory
        self.manifest = manifest
        self._state = state

    @classmethod
    def open(cls, directory: str | Path) -> Build:
        """The build in ``directory``; raises BuildError when there is none or it is incomplete."""
        path = Path(directory)
        build = cls(path, Manifest.read(path))
        for needed in (build.model_path, build.firmware_path):
            if not needed.is_file():
                raise BuildError(f"build {path} lacks {needed.name}", "compile the model again")
        return build

    @property
    def target(self) -> Target:
        return find_target(self.manifest.options.target)

    @property
    def state_folder(self) -> Path:
        """What devices of this build remember: a simulator's flash, the reference's store."""
        return self._state or self.directory / STATE_FOLDER

    @property
    def firmware_path(self) -> Path:
        """The linked firmware."""
        return self.directory / self.target.executable

    @property
    def model_path(self) -> Path:
        """The ONNX model as it was given to the compiler."""
        return self.directory / MODEL_FILE

    def session(
        self, port: str | None = None, workers: int | None = None, *, store: bool | None = None
    ) -> Learner:
        """Connect to a device, or start the target's simulator and connect to that.

        Args:
            port: a serial device, ``socket://host:port`` or any pyserial URL; None for the simulator.
            workers: cores to use, by default as many as compiled for; the results don't depend on it.
            store: whether a simulator gets its flash, a file in the build directory: then it has a
                persistent store and starts with the state kept there. False is a device fresh from
                the factory; by default it gets a flash that is there already.

        Raises:
            LinkError: nothing answers, or it runs another build.
            SimulatorError: the simulator is missing or does not start.
            OptionError: the target has no simulator, or the build is for fewer ``workers``.
        """
        from mcutrain import simulators
        from mcutrain.device.session import Session
        from mcutrain.device.transport import SerialTransport

        most = self.manifest.options.workers
        if workers is not None and not 1 <= workers <= most:
            raise OptionError(f"workers is {workers}, the build is for {most}", f"give 1 to {most}")
        flash = self.state_folder / FLASH_FILE
        if port is None:
            keep = flash if store or (store is None and flash.exists()) else None
            transport: Transport = simulators.start(self.target, self.firmware_path, keep)
        else:
            transport = SerialTransport(port)
        # A kernel call may take a simulated cluster tens of seconds, without a sign of life until it ends.
        # Its link loses nothing, and requests that are repeated meanwhile would only fill it.
        slow = port is None and self.target.fast_memory is not None
        session = Session(
            transport,
            self.manifest,
            workers=workers or 0,
            silence=120.0 if slow else 10.0,
            retry=60.0 if slow else 1.0,
            end=port is None,
        )
        return Learner(session, self.manifest, session.store)

    def reference(self, *, store: bool | None = None) -> Learner:
        """The same Programs in NumPy, which define the bits.

        ``store`` as in :meth:`session`; it is another one than the simulator's.

        Raises:
            BuildError: this version of mcutrain lowers the model to something else.
        """
        lowered = lower(self.model_path, self.manifest.options, name=self.manifest.name)
        if lowered.manifest.build_id != self.manifest.build_id:
            raise BuildError(
                f"build {self.directory} was made by another version of mcutrain", "compile the model again"
            )
        executor = Reference(program.graph for program in lowered.plan.programs)
        path = self.state_folder / REFERENCE_FILE
        used = store or (store is None and path.exists())
        kept = HostStore(executor, self.manifest, path) if used else None
        return Learner(executor, self.manifest, kept)

    def save_onnx(self, path: str | Path, weights: Mapping[str, Array]) -> None:
        """Write the input model with these initializers in place of its own.

        Args:
            path: of the file to write.
            weights: ``{initializer: array}`` as ``session.weights()`` gives them.

        Raises:
            DataError: a name or shape that is not the model's.
        """
        save_model(load_model(self.model_path), weights, path)


def compile(
    model: Model,
    *,
    target: str = "native",
    precision: Precision = "fp32",
    loss: Loss | None = None,
    optimizer: Optimizer = "sgd",
    momentum: bool = False,
    immediate: bool = False,
    train: str | Sequence[str] = ("*",),
    unlearn: str | Sequence[str] = (),
    workers: int | None = None,
    guard: int = 0,
    tiles: Sequence[TileChoice] = (),
    out: str | Path | None = None,
    cc: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Build:
    """Compile an ONNX model into firmware.

    Args:
        model: an ONNX file or a model in memory.
        target: a board or simulator, see ``mcutrain targets``.
        precision: ``fp32``, or ``mixed`` (FP16 tensors, FP32 accumulation and master weights).
        loss: ``cross-entropy`` (integer labels) or ``mse``; None builds a firmware that only infers.
        optimizer: ``sgd``, with weight decay.
        momentum: whether to keep momentum buffers.
        immediate: whether to update each weight as soon as its gradient is known: batches of one
            sample, dense layers only, and no memory for gradients.
        train: globs of the layers to train, separated by commas or as a sequence.
        unlearn: unlearning methods to carry the Programs of, separated by commas or as a sequence:
            see :data:`mcutrain.manifest.UNLEARNING`.
        workers: cores that share the work, by default all the target has.
        guard: spare bytes round every buffer, a multiple of 16.
        tiles: tiles in place of those the compiler chooses, see :func:`mcutrain.tile_file.read_tiles`.
        out: build directory; by default a temporary one that lives as long as the Build.
        cc: C compiler, by default ``$MCUTRAIN_CC`` or ``zig cc``.
        progress: called with a word on each step as it begins.

    Raises:
        McutrainError: each with its reason and remedy; nothing is left behind.
    """
    options = Options(
        target=target,
        precision=precision,
        loss=loss,
        optimizer=optimizer,
        momentum=momentum,
        immediate=immediate,
        train=_words(train),
        unlearn=_words(unlearn),
        workers=find_target(target).workers if workers is None else workers,
        guard=guard,
        tiles=tuple(tiles),
    )
    if out is not None:
        return Build(Path(out), compile_model(model, options, Path(out), progress, cc))
    folder = Path(tempfile.mkdtemp(prefix="mcutrain-build-"))
    try:
        build = Build(folder, compile_model(model, options, folder, progress, cc))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(build, shutil.rmtree, folder, ignore_errors=True)
    return build


def _words(given: str | Sequence[str]) -> tuple[str, ...]:
    words = given.split(",") if isinstance(given, str) else given
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
