"""``mcutrain compile``: ONNX in, firmware out."""

from __future__ import annotations

from pathlib import Path

import click

from mcutrain.cli.console import errors, number, output, print_json, size
from mcutrain.cli.options import json_option
from mcutrain.manifest import UNLEARNING, Loss, Optimizer, Precision
from mcutrain.tile_file import read_tiles
from mcutrain.words import counted


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--target", default="native", show_default=True, metavar="NAME", help="Board, see `mcutrain targets`."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "mixed"]),
    default="fp32",
    show_default=True,
    help="mixed: FP16 tensors, FP32 accumulation and master weights, dynamic loss scaling.",
)
@click.option(
    "--loss",
    type=click.Choice(["cross-entropy", "mse"]),
    help="What training minimises. cross-entropy takes integer labels and includes the softmax. "
    "Without it the firmware only infers.",
)
@click.option(
    "--optimizer", type=click.Choice(["sgd"]), default="sgd", show_default=True, help="The update rule."
)
@click.option(
    "--momentum", is_flag=True, help="Keep momentum buffers (as much memory again as the trained weights)."
)
@click.option(
    "--immediate",
    is_flag=True,
    help="Update each weight as soon as its gradient is known: batches of one sample, dense layers only, "
    "and no memory for gradients.",
)
@click.option(
    "--train",
    "train_globs",
    default="*",
    show_default=True,
    metavar="GLOBS",
    help="Layers to train, for example 'fc*,conv9*'. The others are frozen: their gradients are neither "
    "computed nor stored.",
)
@click.option(
    "--unlearn",
    default="",
    metavar="METHODS",
    help="Carry the Programs of these unlearning methods, separated by commas: "
    + ", ".join(UNLEARNING)
    + ". gradient+projection and gradient+mask are parts of gradient with a memory of their own.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 8),
    metavar="1-8",
    help="Cores that share the work (default: all the target has).",
)
@click.option(
    "--tiles",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Tiles of L1 to use in place of those the compiler chooses, TOML or JSON, for example from "
    "`mcutrain tune`: [tiles] conv1 = { rows = 4, columns = 16 }. `mcutrain info --tiles` shows them.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Build directory (default: build/<name of the model file>).",
)
@json_option
def command(
    model: Path,
    target: str,
    precision: Precision,
    loss: Loss | None,
    optimizer: Optimizer,
    momentum: bool,
    immediate: bool,
    train_globs: str,
    unlearn: str,
    workers: int | None,
    tiles: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compile an ONNX MODEL to firmware that infers and trains.

    The build directory holds the firmware, its C sources, the model and
    manifest.json.  The same model and options give the same bytes.
    """
    from mcutrain.build import compile as compile_model

    out = out or Path("build") / model.stem
    console = errors()
    with console.status(f"{model.name}: importing …") as status:
        build = compile_model(
            model,
            target=target,
            precision=precision,
            loss=loss,
            optimizer=optimizer,
            momentum=momentum,
            immediate=immediate,
            train=train_globs,
            unlearn=unlearn,
            workers=workers,
            tiles=read_tiles(tiles).choices() if tiles else (),
            out=out,
            progress=lambda step: status.update(f"{model.name}: {step} …"),
        )
    manifest = build.manifest
    if as_json:
        print_json({"build": str(out), "build_id": manifest.build_id, "target": manifest.options.target})
        return
    forward = sum(layer.macs_forward for layer in manifest.layers)
    step = forward + sum(layer.macs_backward for layer in manifest.layers)
    trained = sum(1 for layer in manifest.layers if layer.trained)
    result = output()
    result.print(f"[green]✓[/] {out}  ({target}, {precision}, build {manifest.build_id[:12]})")
    result.print(
        f"  {number(sum(layer.parameters for layer in manifest.layers))} parameters, "
        f"{number(forward)} multiply-accumulates an inference"
        + (f", {number(step)} a training step, {counted(trained, 'layer')} trained" if loss else "")
    )
    memory = size(manifest.data_size + manifest.arena_size)
    limit = f" of {size(manifest.memory.available)}" if manifest.memory.available else ""
    result.print(f"  {memory}{limit} for weights, activations and state, placed at compile time")
    follow = f"mcutrain train {out} --data …" if loss else f"mcutrain infer {out} --data …"
    result.print(f"  next: {follow}   (or mcutrain info {out})")
