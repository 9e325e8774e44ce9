"""Views: what transposes and reshapes do to a tensor, as a value that can be simplified.

A :class:`View` is a tensor seen through a chain of transposes and reshapes.
Axes of length one carry no data, so the chain is kept over the *squeezed*
shape (without them): moving or adding such an axis leaves no step behind, and
two chains that do the same to the data compare equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcutrain.ir import LayoutStep, Tensor

Shape = tuple[int, ...]


def squeezed(shape: Shape) -> Shape:
    """The shape without its axes of length one."""
    return tuple(d for d in shape if d != 1)


def inverse(permutation: Shape) -> Shape:
    """The permutation that undoes this one."""
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


@dataclass(frozen=True)
class View:
    """Tensor ``base`` of ``base_shape`` through ``steps`` over squeezed shapes, shown in ``shape``.

    Steps alternate between transposes and reshapes and none is an identity.
    """

    base: str
    base_shape: Shape
    shape: Shape
    steps: tuple[LayoutStep, ...] = ()

    @classmethod
    def of(cls, tensor: Tensor) -> View:
        return cls(tensor.name, tensor.shape, tensor.shape)

    @property
    def free(self) -> bool:
        """Whether the data stay in place: nothing to do at run time."""
        return all(step.kind == "reshape" for step in self.steps)

    def shapes(self) -> list[Shape]:
        """The squeezed shape before the first step and after each."""
        found = [squeezed(self.base_shape)]
        for step in self.steps:
            before = found[-1]
            found.append(tuple(before[i] for i in step.value) if step.kind == "transpose" else step.value)
        return found

    def reshape(self, shape: Shape) -> View:
        return self._then(LayoutStep("reshape", squeezed(shape)), shape)

    def transpose(self, permutation: Shape) -> View:
        """As ``numpy.transpose``: axis ``i`` of the result is axis ``permutation[i]`` of this view."""
        kept = [axis for axis in permutation if self.shape[axis] != 1]
        order = sorted(kept)
        step = LayoutStep("transpose", tuple(order.index(axis) for axis in kept))
        return self._then(step, tuple(self.shape[axis] for axis in permutation))

    def undo(self, other: View) -> View:
        """This view, of ``other``'s shape, through the inverse of ``other``'s chain."""
        view = self
        for step, before in zip(reversed(other.steps), reversed(other.shapes()[:-1]), strict=True):
            if step.kind == "transpose":
                view = view.reshape(squeezed(view.shape)).transpose(inverse(step.value))
            else:
                view = view.reshape(before)
        return view.reshape(other.base_shape)

    def on(self, tensor: Tensor) -> View:
        """The same chain over another base of the same shape."""
        return View(tensor.name, tensor.shape, self.shape, self.steps)

    def axes(self) -> dict[int, int] | None:
        """Axis of the base for each axis of the view that holds data; None if a reshape mixes them.

        Axes of length one are paired in order while the base has some.
        """
        if any(step.kind == "reshape" for step in self.steps):
            return None
        permutation = self.steps[0].value if self.steps else tuple(range(len(squeezed(self.base_shape))))
        data = [axis for axis, d in enumerate(self.base_shape) if d != 1]
        units = (axis for axis, d in enumerate(self.base_shape) if d == 1)
        moved = (data[i] for i in permutation)
        pairs = ((axis, next(moved) if d != 1 else next(units, None)) for axis, d in enumerate(self.shape))
        return {axis: base for axis, base in pairs if base is not None}

    def _then(self, step: LayoutStep, shape: Shape) -> View:
        steps = [*self.steps, step]
        if len(steps) > 1 and steps[-2].kind == step.kind:
            before = steps[-2].value
            value = tuple(before[i] for i in step.value) if step.kind == "transpose" else step.value
            steps[-2:] = [LayoutStep(step.kind, value)]
        before_last = View(self.base, self.base_shape, (), tuple(steps[:-1])).shapes()[-1]
        nothing = before_last if steps[-1].kind == "reshape" else tuple(range(len(before_last)))
        if steps[-1].value == nothing:
            steps.pop()
        return View(self.base, self.base_shape, shape, tuple(steps))
