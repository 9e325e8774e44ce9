"""Cycles of matrix products on GVSoC's pulp-open whose operands are in L1 already, checked against NumPy.

    python benchmarks/pulp_products.py [--workers N]

The same functions that the kernels call when DMA has brought a tile, rows shared out among the workers: what
remains of a call's time (`benchmarks/pulp_kernels.py`) is that of transfers that nothing hides.  In NN
form w is transposed within the count, in TN form both operands are, and the accumulators come from L2 and go
there.
"""

from __future__ import annotations

import argparse

import numpy as np
from pulp_kernels import SEED, count, literal, place, report

from mcutrain.ir import Node, Tensor
from mcutrain.ops import Pointer, op_for

#: Form, rows, columns and depth: y[rows][columns] = x[rows][depth] . w[columns][depth] in NT form, with
#: w[depth][columns] in NN form, and y[rows][columns] += x[depth][rows] . w[depth][columns] in TN form.
CASES = {
    "product NT 64x64x64": ("NT", 64, 64, 64),
    "product NT 64x64x128": ("NT", 64, 64, 128),
    "product TN 64x64x64": ("TN", 64, 64, 64),
    "pointwise 64-64, 125 pixels, forward": ("NT", 125, 64, 64),
    "pointwise 64-64, 125 pixels, input gradient": ("NN", 125, 64, 64),
}

INCLUDES = """
#define MCT_ELEM 16
#include "tiled/{header}.h"
"""

ARGUMENTS = """
static const struct {{
    mct_elem *x, *w;
    void *y;
    uint32_t rows, columns, depth;
}} arguments = {{{x}, {w}, {y}, {rows}, {columns}, {depth}}};
"""

BRING = """
    const mct_elem *const from[2] = {arguments.x, arguments.w};
    const uint32_t rows = arguments.rows, columns = arguments.columns, depth = arguments.depth;
    const uint32_t bytes[2] = {rows * depth * sizeof(mct_elem), columns * depth * sizeof(mct_elem)};
    struct mct_l1 room = mct_l1_all();
    mct_elem *const l1[2] = {mct_l1_take(&room, bytes[0]), mct_l1_take(&room, bytes[1])};
    uint32_t first, last, group;
    for (uint32_t i = 0; i < 2 && worker == 0; i++) {
        group = mct_dma_begin();
        mct_l1_in(l1[i], from[i], bytes[i]);
        mct_dma_wait(group);
    }
    mct_elem *const x = l1[0], *const w = l1[1];
    (void)args;
"""

NT = """
    mct_nt_rows(y + 4 * block * columns, x + 4 * block * depth, w, mct_min(4, rows - 4 * block), columns,
                depth, &finish);
"""
NN = """
    mct_nn_rows(y + 4 * block * columns, x + 4 * block * depth, w, columns, mct_min(4, rows - 4 * block),
                columns, depth);
"""
ROWS = """
    mct_elem *const y = mct_l1_take(&room, rows * columns * sizeof(mct_elem));
    const struct mct_finish finish = {0, MCT_NO_ACTIVATION, 0, 0};
    mct_barrier();
    (void)finish;
    START;
    if (NN_FORM) {
        mct_split(depth / 2, worker, workers, &first, &last);
        mct_make_pairs(w, first, last, columns);
        mct_barrier();
    }
    mct_split((rows + 3) / 4, worker, workers, &first, &last);
    for (uint32_t block = first; block < last; block++)
        PRODUCT
    END;
    mct_barrier();
    if (worker == 0) {
        group = mct_dma_begin();
        mct_l1_out(arguments.y, y, rows * columns * sizeof(mct_elem));
        mct_dma_wait(group);
    }
"""

TN = """
    mct_barrier();
    START;
    const struct mct_tn t = mct_tn(arguments.y, rows, columns, mct_l1_take(&room, MCT_TN_BYTES));
    struct mct_tn_piece piece;
    group = mct_dma_begin();
    const struct mct_tn_share share = mct_tn_begin(&t, worker, workers, &piece);
    mct_split(depth / 2, worker, workers, &first, &last);
    mct_tn_pair_rows(x, rows, first, last);
    mct_tn_pair_rows(w, columns, first, last);
    mct_dma_wait(group);
    mct_barrier();
    mct_tn_run(&t, share, piece, w, x, depth / 2);
    END;
"""

BODIES = {
    "NT": ROWS.replace("NN_FORM", "0").replace("PRODUCT", NT.strip()),
    "NN": ROWS.replace("NN_FORM", "1").replace("PRODUCT", NN.strip()),
    "TN": TN,
}


def measure(form: str, rows: int, columns: int, depth: int, workers: int) -> dict[str, float]:
    """Build, run, check the bits; the counters' values and ``macs``."""
    rng = np.random.default_rng(SEED)
    shapes = {
        "NT": [(rows, depth), (columns, depth)],
        "NN": [(rows, depth), (depth, columns)],
        "TN": [(depth, rows), (depth, columns)],
    }[form]
    x, w = (rng.normal(size=shape).astype(np.float16) for shape in shapes)
    tensors = [Tensor("x", shapes[0], "f16", "state"), Tensor("w", shapes[1], "f16", "state")]
    y = Tensor("y", (rows, columns), "f32" if form == "TN" else "f16", "state")
    inputs = {"x": x, "w": w}
    if form != "TN":
        rows_of_w = w if form == "NT" else np.ascontiguousarray(w.T)
        (expected,) = op_for("Dense").compute(Node("Dense", ("x", "w"), ("y",)), [x, rows_of_w], [y])
    else:
        inputs["y"] = rng.normal(size=y.shape).astype(np.float32)
        node = Node("DenseWeightGradient", ("w", "x", "y"), ("y",))
        (expected,) = op_for(node.op).compute(node, [w, x, inputs["y"]], [y])
    entries = place([*tensors, y])
    places = {entry.name: entry for entry in entries}
    counts = count(
        INCLUDES.format(header="product_tn" if form == "TN" else "many_rows"),
        ARGUMENTS.format(
            **{name: literal(Pointer(name), places) for name in "xwy"},
            rows=rows,
            columns=columns,
            depth=depth,
        ),
        BRING + BODIES[form],
        entries,
        ("dense", "f16"),
        inputs,
        {"y": expected},
        workers,
    )
    return {**counts, "macs": rows * columns * depth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    args = parser.parse_args()
    report({name: measure(*case, args.workers) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
