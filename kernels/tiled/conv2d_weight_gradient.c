#include "../cluster.h"
#include "../conv2d_weight_gradient_any.h"
#include "l1.h"
#include "squares.h"
#include "../simd/runs.h"
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "windows_weight_gradient.h"
#endif

/* The reduction runs over pixels, and memory over channels: so tiles of x and dy, some rows of output
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

struct step {
    uint32_t sample, tile;
};

/* The rows of x, of the tile that begins with row `top` of it (which may be above x), that exist. */
static void clip(const struct turn *k, const struct step *s, int32_t *top, uint32_t *first, uint32_t *last) {
    *top = (int32_t)(s->tile * k->tile_rows * k->d->stride_h) - (int32_t)k->d->pad_top;
    *first = *top < 0 ? 0 : mct_min((uint32_t)*top, k->d->height);
    *last =
        mct_min((uint32_t)(*top + (int32_t)k->in_rows < 0 ? 0 : *top + (int32_t)k->in_rows), k->d->height);
}

static uint32_t rows_of(const struct turn *k, const struct step *s) {
    return mct_min(k->tile_rows, k->d->out_height - s->tile * k->tile_rows);
}

static void load(const struct turn *k, const struct step *s) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t pitch = d->width * d->channels, out_pitch = d->out_width * d->out_channels, first, last;
    int32_t top;
    clip(k, s, &top, &first, &last);
    const mct_elem *x = (const mct_elem *)d->x + s->sample * k->x_sample + first * k->x_line_in;
    last = first < last ? last : first;
    if (k->x_line_in == pitch)
        mct_l1_in(k->x_raw, x, (last - first) * pitch * sizeof(mct_elem));
    else
        for (uint32_t row = first; row < last; row++, x += k->x_line_in)
            mct_dma_in_rows(k->x_raw + (row - first) * pitch, x, d->width, d->channels * sizeof(mct_elem),
                            k->x_pixel * sizeof(mct_elem));
    mct_l1_in(k->dy_raw,
              (const mct_elem *)d->dy + (s->sample * d->out_height + s->tile * k->tile_rows) * out_pitch,
              rows_of(k, s) * out_pitch * sizeof(mct_elem));
}

/* One row of x, turned: `count` columns of the line `to`. `from` is what its column `begin` gets, `step` the
 * distance from one of its columns to the next; columns outside [begin, end) are zeros. */
static __attribute__((noinline)) void turn_row(mct_elem *to, const mct_elem *from, uint32_t step,
                                               uint32_t begin, uint32_t end, uint32_t count) {
    uint32_t i = 0;
    for (; i < begin; i++)
        to[i] = 0;
    for (; i < end; i++, from += step)
        to[i] = from[0];
    for (; i < count; i++)
        to[i] = 0;
}

/* The same for `pairs` pairs of lines, `next` elements apart, and neighbouring elements from `from` on. */
static __attribute__((noinline)) void turn_pairs(mct_elem *to, uint32_t next, const mct_elem *from,
                                                 uint32_t step, uint32_t begin, uint32_t end, uint32_t count,
                                                 uint32_t pairs) {
    const uint32_t fours = (end - begin) / 4, whole = begin + 4 * fours;
    for (; pairs; pairs--, to += 2 * next, from += 2) {
        uint32_t i = 0;
        for (; i < begin; i++)
            to[i] = to[next + i] = 0;
        if (fours)
            mct_turn_columns(to + begin, next, from, step, fours);
        const mct_elem *at = from + 4 * fours * step;
        for (i = whole; i < end; i++, at += step) {
            to[i] = at[0];
            to[next + i] = at[1];
        }
        for (; i < count; i++)
            to[i] = to[next + i] = 0;
    }
}

/* A share of the lines of x that are elements of the window. */
static void turn_windows(const struct turn *k, const struct step *s, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t first, last, item, end, pitch = d->width * d->channels, rows = k->line_rows;
    int32_t top;
    clip(k, s, &top, &first, &last);
    mct_split(k->set_lines * rows, worker, workers, &item, &end);
    uint32_t line = item / rows, row = item % rows, channel = line % d->channels, tap = line / d->channels;
    for (; item < end; item++) {
        const uint32_t kh = tap / d->kernel_w;
        const struct start *start = k->starts + (tap - kh * d->kernel_w);
        const int32_t at = top + (int32_t)(row * d->stride_h + kh * d->dilation_h);
        const bool inside = at >= (int32_t)first && at < (int32_t)last && line < k->depth;
        const uint32_t begin = inside ? start->begin : 0, stop = inside ? start->end : 0;
        const int32_t column = start->column + (int32_t)(begin * d->stride_w);
        const mct_elem *from = k->x_raw;
        if (begin < stop)
            from += ((uint32_t)at - first) * pitch + (uint32_t)column * d->channels + channel;
        turn_row(k->x_lines + line * k->x_line + row * k->wide, from, d->stride_w * d->channels, begin, stop,
                 k->wide);
        if (++row == rows) {
            row = 0;
            line++;
            if (++channel == d->channels) {
                channel = 0;
                tap++;
            }
        }
    }
}

/* A share of the lines of x that are channels: an item is a row of a few of a set's. */
static void turn_channels(const struct turn *k, const struct step *s, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    const uint32_t pitch = d->width * d->channels, rows = k->line_rows, few = d->channels % 8 ? 4 : 8;
    const uint32_t parts = d->channels / few;
    uint32_t first, last, item, end;
    int32_t top;
    clip(k, s, &top, &first, &last);
    mct_split(k->sets * parts * rows, worker, workers, &item, &end);
    uint32_t row = item % rows, part = item / rows % parts, set = item / rows / parts;
    for (; item < end; item++) {
        const struct start *start = k->starts + set;
        const int32_t at = top + (int32_t)row;
        const bool inside = at >= (int32_t)first && at < (int32_t)last;
        const uint32_t begin = inside ? start->begin : 0, stop = inside ? start->end : 0;
        /* the first of the columns that are inside */
        const int32_t column = start->column + (int32_t)(begin * d->stride_w);
        const mct_elem *from = k->x_raw;
        if (begin < stop)
            from += ((uint32_t)at - first) * pitch + (uint32_t)column * d->channels + part * few;
        turn_pairs(k->x_lines + (set * k->set_lines + part * few) * k->x_line + row * k->wide, k->x_line,
                   from, d->stride_w * d->channels, begin, stop, k->wide, few / 2);
        if (++row == rows) {
            row = 0;
            if (++part == parts) {
                part = 0;
                set++;
            }
        }
    }
}

static void turn_dy(const struct turn *k, const struct step *s, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    const uint32_t pixels = rows_of(k, s) * d->out_width;
    uint32_t pair, end;
    mct_split(d->out_channels / 2, worker, workers, &pair, &end);
    turn_pairs(k->dy_lines + 2 * pair * k->dy_line, k->dy_line, k->dy_raw + 2 * pair, d->out_channels, 0,
               pixels, pixels, end - pair);
    if (worker == workers - 1 && d->out_channels % 2)
        turn_row(k->dy_lines + (d->out_channels - 1) * k->dy_line, k->dy_raw + d->out_channels - 1,
                 d->out_channels, 0, pixels, pixels);
}

/* A block of accumulators to L1 or from there. */
static void move_acc(const struct turn *k, uint32_t chunk, float *l1, bool in) {
    uint32_t first = chunk * k->chunk, rows = mct_min(k->chunk, k->d->out_channels - first);
    float *acc = k->d->acc + first * k->depth;
    uint32_t times = k->pitch == k->depth ? 1 : rows, bytes = rows / times * k->depth * sizeof(float);
    for (; times; times--, acc += k->depth, l1 += k->pitch)
        if (in)
            mct_l1_in(l1, acc, bytes);
        else
            mct_l1_out(acc, l1, bytes);
}

/* A share of a tile's products with a block of accumulators. */
static void multiply(const struct turn *k, uint32_t chunk, float *acc, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t first = chunk * k->chunk, rows = mct_min(k->chunk, up(d->out_channels, 4) - first) / 4;
    uint32_t item, last;
    mct_split(rows * k->taps * k->tap_blocks, worker, workers, &item, &last);
    uint32_t block = item % k->tap_blocks, tap = item / k->tap_blocks % k->taps;
    uint32_t row = item / k->tap_blocks / k->taps;
    struct mct_run_sums run = {
        .a_step = (int32_t)(k->dy_line * sizeof(mct_elem)),
        .b_step = (int32_t)(k->x_line * sizeof(mct_elem)),
        .pairs = k->pairs,
        .b_skip = mct_skip_b(k->skip * (int32_t)sizeof(mct_elem), (int32_t)(k->x_line * sizeof(mct_elem))),
        .runs = k->runs,
        .acc_step = (int32_t)(k->pitch * sizeof(float)),
        .b_next = (int32_t)(4 * k->x_line * sizeof(mct_elem)),
    };
    run.a_back = mct_run_back(run.a_step);
    run.b_back = mct_run_back(run.b_step);
    while (item < last) {
        uint32_t blocks = mct_min(k->tap_blocks - block, last - item);
        run.a = k->dy_lines + (first + row * 4) * k->dy_line;
        run.b = k->x_lines + k->shifts[tap] + block * 4 * k->x_line;
        run.acc = acc + row * 4 * k->pitch + (tap * k->tap_blocks + block) * 4;
        run.blocks = blocks;
        mct_run_sums(&run);
        item += blocks;
        block = 0;
        if (++tap == k->taps) {
            tap = 0;
            row++;
        }
    }
}

static void accumulate(struct turn *k, uint32_t worker, uint32_t workers) {
    uint32_t raw = 0, in = 0, out = 0, turns = 0, all = k->d->batch * k->tiles * k->chunks;
    struct step s = {0};
    if (worker == 0) {
        raw = mct_dma_begin();
        load(k, &s);
        in = mct_dma_begin();
        move_acc(k, 0, k->acc[0], true);
    }
    for (uint32_t tile = 0; tile < k->d->batch * k->tiles; tile++) {
        if (worker == 0)
            mct_dma_wait(raw);
        mct_barrier();
        if (k->whole_windows)
            turn_windows(k, &s, worker, workers);
        else
            turn_channels(k, &s, worker, workers);
        turn_dy(k, &s, worker, workers);
        if (worker == 0)
            k->runs = rows_of(k, &s);
        if (++s.tile == k->tiles) {
            s.tile = 0;
            s.sample++;
        }
        for (uint32_t chunk = 0; chunk < k->chunks; chunk++, turns++) {
            bool moving = turns == 0 || k->chunks > 1;
            if (worker == 0 && moving)
                mct_dma_wait(in);
            if (chunk == 0 || moving)
                mct_barrier();
            if (worker == 0 && chunk == 0 && s.sample < k->d->batch) {
                raw = mct_dma_begin();
                load(k, &s);
            }
            if (worker == 0 && k->chunks > 1) {
                if (turns > 0) {
                    out = mct_dma_begin();
                    move_acc(k, chunk ? chunk - 1 : k->chunks - 1, k->acc[(turns - 1) % 2], false);
                    mct_dma_wait(out);
                }
                if (turns + 1 < all) {
                    in = mct_dma_begin();
                    move_acc(k, chunk + 1 < k->chunks ? chunk + 1 : 0, k->acc[(turns + 1) % 2], true);
                }
            }
            multiply(k, chunk, k->acc[k->chunks > 1 ? turns % 2 : 0], worker, workers);
        }
    }
    mct_barrier();
    if (worker == 0) {
        out = mct_dma_begin();
        move_acc(k, k->chunks - 1, k->acc[k->chunks > 1 ? (turns - 1) % 2 : 0], false);
        mct_dma_wait(out);
    }
}

/* Squares of a block of complete sums, a share of them; the accumulators pass through what tiles had, or
 * where their lines are needed again, what these came in. */
static void square(const struct turn *k, uint32_t chunk, bool again, uint32_t worker, uint32_t workers) {
    const uint32_t first = chunk * k->chunk, rows = mct_min(k->chunk, k->d->out_channels - first);
    const float *sums = k->acc[0];
    float *acc = k->d->acc + first * k->depth;
    uint8_t *place = (uint8_t *)k->x_raw;
    const uint8_t *end = again ? (const uint8_t *)k->x_lines : (const uint8_t *)sums;
    const uint32_t bytes = (uint32_t)(end - place) / workers & ~15u;
    uint32_t i, last;
    place += worker * bytes;
    if (k->pitch == k->depth) {
        mct_split(rows * k->depth / 4, worker, workers, &i, &last);
        mct_l1_squares(acc + 4 * i, sums + 4 * i, 4 * (last - i), place, bytes);
        return;
    }
    mct_split(rows, worker, workers, &i, &last);
    for (; i < last; i++)
        mct_l1_squares(acc + i * k->depth, sums + i * k->pitch, k->depth, place, bytes);
}

/* As accumulate; sums begin with zeros, in the first block's place. A single tile, once it is turned, leaves
 * room for a block of accumulators, which come while their sums are made. */
static __attribute__((noinline)) void accumulate_squares(struct turn *k, uint32_t worker, uint32_t workers) {
    const uint32_t tiles = k->d->batch * k->tiles, count = k->chunk * k->pitch;
    const bool whole =
        tiles == 1 && count * sizeof(float) <= (uint32_t)((uint8_t *)k->x_lines - (uint8_t *)k->x_raw);
    float *const sums = k->acc[0], *const acc = k->acc[1];
    struct step s = {0};
    uint32_t raw = 0, move = 0, first, last;
    mct_split(count / 4, worker, workers, &first, &last);
    first *= 4;
    last *= 4;
    for (uint32_t chunk = 0; chunk < k->chunks; chunk++) {
        const bool turned = tiles == 1 && chunk > 0;
        if (chunk)
            mct_barrier(); /* all are done with the squares before */
        if (worker == 0 && chunk && whole) {
            move = mct_dma_begin();
            move_acc(k, chunk - 1, acc, false);
        }
        if (worker == 0 && !turned) {
            raw = mct_dma_begin();
            load(k, &s);
        }
        mct_sums_zero(sums + first, last - first);
        for (uint32_t tile = 0; tile < tiles; tile++) {
            if (!turned) {
                if (worker == 0)
                    mct_dma_wait(raw);
                mct_barrier();
                if (k->whole_windows)
                    turn_windows(k, &s, worker, workers);
                else
                    turn_channels(k, &s, worker, workers);
                turn_dy(k, &s, worker, workers);
                if (worker == 0)
                    k->runs = rows_of(k, &s);
                if (++s.tile == k->tiles) {
                    s.tile = 0;
                    s.sample = s.sample + 1 == k->d->batch ? 0 : s.sample + 1;
                }
            }
            mct_barrier();
            if (worker == 0 && tile + 1 < tiles) {
                raw = mct_dma_begin();
                load(k, &s);
            }
            if (worker == 0 && whole) {
                if (chunk)
                    mct_dma_wait(move);
                move = mct_dma_begin();
                move_acc(k, chunk, acc, true);
            }
            multiply(k, chunk, sums, worker, workers);
        }
        if (worker == 0 && whole)
            mct_dma_wait(move);
        mct_barrier();
        if (whole)
            mct_squares_here(acc + first, sums + first, last - first);
        else
            square(k, chunk, tiles == 1 && chunk + 1 < k->chunks, worker, workers);
    }
    if (!whole)
        return;
    mct_barrier();
    if (worker == 0) {
        move = mct_dma_begin();
        move_acc(k, k->chunks - 1, acc, false);
        mct_dma_wait(move);
    }
}

void MCT_KERNEL(conv2d_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
#if defined(MCT_XPULP) && MCT_ELEM == 16
    if (mct_windows_weight_gradient(args, worker, workers))
        return;
#endif
    struct turn *k = NULL;
    MCT_SHARE(k, plan(args, workers), worker);
    if (k && k->d->squares)
        accumulate_squares(k, worker, workers);
    else if (k)
        accumulate(k, worker, workers);
    else
        mct_conv2d_weight_gradient_any(args, worker, workers);
}
