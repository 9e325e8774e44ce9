/* The plan of a convolution's weight gradient in tiles: what is in L1, and in how many tiles and blocks.
 *
 * The reduction runs over pixels, and memory over channels: so tiles of x and dy, some rows of output
 * pixels each, are turned over in L1, to one line per channel. In these a kernel offset is a shift, and
 * sixteen products of four output channels and four channels of x are one walk along the lines, as in the
 * forward convolution; with a stride, lines take every stride-th column, and there are as many sets of
 * lines.
 *
 * If x has channels that are no multiple of four, a line is made for each element of the window instead.
 *
 * Tiles are brought while the workers compute the one before, and so are the accumulators if L1 does
 * not hold all: then they come and go in blocks of output channels. To be squared, a block must have met all
 * tiles: these pass once for each block then. */
#ifndef MCT_TILED_TURN_PLAN_H
#define MCT_TILED_TURN_PLAN_H

#include "../conv2d_weight_gradient.h"
#include "../simd/runs.h"
#include "l1.h"

/* Where a line begins in the columns of x, and which of its own columns are inside. */
struct start {
    int32_t column;
    uint32_t begin, end;
};

struct turn {
    const struct mct_conv2d_weight_gradient *d;
    bool whole_windows; /* a line for each element of the window */
    uint32_t tiles, tile_rows;
    uint32_t x_sample, x_line_in, x_pixel; /* in memory, from one sample, row and column of x to the next */
    uint32_t in_rows;                      /* rows of x that a tile of output rows meets */
    /* lines of x: sets * set_lines, each of line_rows rows of `wide` columns */
    uint32_t sets, set_lines, line_rows, wide, x_line, dy_line;
    uint32_t taps, tap_blocks; /* kernel offsets; blocks of four lines that one has */
    /* blocks of accumulators, in rows of `pitch` numbers, of which `depth` are real */
    uint32_t chunk, chunks, depth, pitch;
    mct_elem *x_raw, *dy_raw, *x_lines, *dy_lines;
    float *acc[2];
    uint32_t pairs, runs; /* of a tile's lines, and how many runs it has */
    int32_t skip;         /* between them in the lines of x, elements */
    struct start *starts; /* of each set; of each column of the window */
    uint32_t *shifts;     /* of each kernel offset, in the lines of x */
};

static uint32_t up(uint32_t n, uint32_t multiple) {
    return mct_ceil_div(n, multiple) * multiple;
}

/* Takes L1 for tiles of `rows` rows; false when that is too much. */
static bool take(struct turn *k, struct mct_l1 l1, uint32_t rows) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t outputs = up(d->out_channels, 4), size = sizeof(mct_elem);
    k->tile_rows = rows;
    k->in_rows = (rows - 1) * d->stride_h + (d->kernel_h - 1) * d->dilation_h + 1;
    k->line_rows = k->whole_windows ? rows : k->in_rows;
    k->x_line = k->line_rows * k->wide;
    k->dy_line = rows * d->out_width;
    k->starts = mct_l1_take(&l1, (d->kernel_w + d->stride_w) * sizeof *k->starts);
    k->shifts = mct_l1_take(&l1, k->taps * sizeof *k->shifts);
    k->x_raw = mct_l1_take(&l1, mct_min(k->in_rows, d->height) * d->width * d->channels * size);
    k->dy_raw = mct_l1_take(&l1, k->dy_line * d->out_channels * size);
    k->x_lines = mct_l1_take(&l1, k->sets * k->set_lines * k->x_line * size);
    k->dy_lines = mct_l1_take(&l1, outputs * k->dy_line * size);
    if (!k->starts || !k->shifts || !k->x_raw || !k->dy_raw || !k->x_lines || !k->dy_lines)
        return false;
    uint32_t fit = l1.left / (k->pitch * sizeof(float));
    k->chunk = fit >= outputs ? outputs : d->squares ? fit / 4 * 4 : fit / 8 * 4;
    /* once it is turned, a single tile makes room for the second block of accumulators */
    uint32_t over = (uint32_t)((uint8_t *)k->x_lines - (uint8_t *)k->x_raw) / (k->pitch * sizeof(float));
    bool reuse = !d->squares && k->chunk == 0 && k->d->batch == 1 && rows == d->out_height;
    if (reuse)
        k->chunk = mct_min(fit, over) / 4 * 4;
    uint32_t asked = up(mct_min(d->tile_columns, outputs), 4);
    if (k->chunk == 0 || k->chunk < asked)
        return false;
    k->chunk = asked ? asked : k->chunk;
    k->chunks = mct_ceil_div(outputs, k->chunk);
    if (!asked)
        k->chunk = up(mct_ceil_div(outputs, k->chunks), 4);
    for (uint32_t i = 0; i < 2; i++)
        if (i && (reuse || d->squares))
            k->acc[i] = (float *)(void *)k->x_raw;
        else
            k->acc[i] = i < k->chunks ? mct_l1_take(&l1, k->chunk * k->pitch * sizeof(float)) : k->acc[0];
    return k->acc[1] != NULL;
}

/* About how many cycles all of it takes on tiles that `take` found room for. */
static uint32_t estimate(const struct turn *k, uint32_t workers) {
    enum { PAIR = 32, BLOCK = 110, CHUNK = 200, TILE = 500, TURNED = 3, DMA_BYTES = 8 };
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t blocks = mct_ceil_div(k->chunk / 4 * k->taps * k->tap_blocks, workers);
    uint32_t turned = k->sets * k->set_lines * k->x_line + d->out_channels * k->dy_line;
    if (d->squares && k->tiles * d->batch > 1)
        turned *= k->chunks;
    uint32_t chunk = blocks * (k->tile_rows * d->out_width / 2 * PAIR + BLOCK) + CHUNK;
    /* nothing hides the first transfer and the last one */
    uint32_t alone = (uint32_t)((uint8_t *)k->x_lines - (uint8_t *)k->x_raw) + k->chunk * k->pitch * 4;
    return alone / DMA_BYTES + k->tiles * (k->chunks * chunk + turned / workers * TURNED + TILE);
}

/* Fills `starts` and `shifts`, so that no worker need divide. */
static void find_places(struct turn *k) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t starts = k->whole_windows ? d->kernel_w : k->sets;
    for (uint32_t i = 0; i < starts; i++) {
        struct start *start = k->starts + i;
        start->column = (int32_t)(i * (k->whole_windows ? d->dilation_w : 1)) - (int32_t)d->pad_left;
        start->begin = start->column < 0 ? mct_ceil_div((uint32_t)-start->column, d->stride_w) : 0;
        int32_t beyond = (int32_t)d->width - start->column; /* columns to the right end of x */
        start->end = beyond > 0 ? mct_min(mct_ceil_div((uint32_t)beyond, d->stride_w), k->wide) : 0;
        start->begin = mct_min(start->begin, start->end);
    }
    k->shifts[0] = 0;
    for (uint32_t tap = 1; tap < k->taps; tap++) {
        uint32_t column = tap % d->kernel_w * d->dilation_w;
        k->shifts[tap] = column % d->stride_w * k->set_lines * k->x_line + column / d->stride_w +
                         tap / d->kernel_w * d->dilation_h * k->wide;
    }
}

/* Null where the kernel for any shape is to do the work. By one worker.
 *
 * Pairs must not cross the end of a row: it must have an even number of output pixels. */
static struct turn *plan(const struct mct_conv2d_weight_gradient *d, uint32_t workers) {
    struct mct_l1 l1 = mct_l1_all();
    struct turn *k = mct_l1_take(&l1, sizeof *k);
    struct mct_conv2d_weight_gradient *copy = mct_l1_take(&l1, sizeof *copy);
    if (!k || !copy || d->groups != 1 || d->out_width % 2)
        return NULL;
    *copy = *d;
    *k = (struct turn){.d = copy,
                       .x_sample = d->height * d->width * d->channels,
                       .x_line_in = d->width * d->channels,
                       .x_pixel = d->channels};
    if (d->kernel_h * d->kernel_w == 1 && d->pad_top + d->pad_left == 0) {
        /* of x, only the pixels that are met come to L1 */
        k->x_line_in *= d->stride_h;
        k->x_pixel *= d->stride_w;
        copy->height = d->out_height;
        copy->width = d->out_width;
        copy->stride_h = copy->stride_w = 1;
    }
    d = copy;
    k->depth = d->kernel_h * d->kernel_w * d->channels;
    k->whole_windows = d->channels % 4 != 0;
    if (k->whole_windows) {
        k->sets = k->taps = 1;
        k->set_lines = up(k->depth, 4);
        k->wide = d->out_width;
    } else {
        uint32_t last = (d->kernel_w - 1) * d->dilation_w;
        k->sets = mct_min(d->stride_w, last + 1);
        k->taps = d->kernel_h * d->kernel_w;
        k->set_lines = d->channels;
        k->wide = up(d->out_width + last / d->stride_w, 2);
    }
    k->tap_blocks = k->set_lines / 4;
    k->pitch = up(k->depth, 4);
    uint32_t best = 0, least = UINT32_MAX, found = 0, rows = UINT32_MAX;
    for (uint32_t tiles = 1; found < 3 && rows > 1; tiles = tiles < 4 ? tiles + 1 : tiles * 2) {
        rows = d->tile_rows ? mct_min(d->tile_rows, d->out_height) : mct_ceil_div(d->out_height, tiles);
        k->tiles = mct_ceil_div(d->out_height, rows);
        if (take(k, l1, rows)) {
            const uint32_t cycles = estimate(k, workers);
            best = cycles < least ? rows : best;
            least = mct_min(cycles, least);
            found++;
        }
        if (d->tile_rows)
            break;
    }
    if (!best)
        return NULL;
    if (best != rows) {
        k->tiles = mct_ceil_div(d->out_height, best);
        take(k, l1, best);
    }
    uint32_t step = (k->whole_windows ? 1 : d->stride_h) * k->wide;
    find_places(k);
    k->skip = (int32_t)(step - d->out_width);
    k->pairs = mct_run_pairs(d->out_width);
    return k;
}

#endif
