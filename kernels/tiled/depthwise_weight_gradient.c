/* Weight gradient of a depthwise convolution through L1: a variant for binary16, 3 by 3 taps and channels in
 * fours. Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(depthwise_weight_gradient)
#include "../depthwise_weight_gradient.c"
#include "tiled/depthwise.h"

enum { TAPS = 9 };

/* Tiles are those of the forward pass, with dy in place of y; they have whole pairs of pixels but for the
 * last. */
struct gradient {
    struct mct_depthwise_walk walk;
    float *acc;      /* [TAPS][channels] */
    uint32_t *table; /* of a tile's pixels: where the first tap is in x, in bytes */
};

static bool plan(struct gradient *g) {
    struct mct_l1 l1 = mct_l1_all();
    struct mct_depthwise_walk *k = &g->walk;
    const uint32_t granule = k->out_width % 2 ? 2 : 1;
    const uint32_t row = k->out_width * sizeof *g->table;
    g->acc = mct_l1_take(&l1, TAPS * k->channels * sizeof(float));
    if (!g->acc || l1.left < k->out_height * row + 2 * row + 16)
        return false;
    g->table = mct_l1_take(&l1, (k->out_height + 1) * row);
    return mct_depthwise_tiles(k, l1, granule);
}

static void fill_table(const struct gradient *g, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t pixel = k->part * sizeof(mct_elem);
    for (uint32_t r = worker; r < k->tile_rows; r += workers)
        for (uint32_t c = 0; c < k->out_width; c++)
            g->table[r * k->out_width + c] = (r * k->row_step * k->wide + c * k->column_step) * pixel;
}

/* The last pixel, when it has no partner, and three taps. */
static void lone(float sum[6], const mct_elem *x, const mct_elem *dy, uint32_t part) {
    for (uint32_t i = 0; i < 6; i += 2, x += part) {
        sum[i] = mct_dot_low(sum[i], mct_load_low(x), mct_load_low(dy));
        sum[i + 1] = mct_dot_low(sum[i + 1], mct_load_low(x + 1), mct_load_low(dy + 1));
    }
}

/* Two channels of a tile, one row of taps after the other. */
static void two_channels(const struct gradient *g, const struct mct_depthwise_step *s, uint32_t c) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t rows = mct_depthwise_rows(k, s), width = k->out_width, pixels = rows * width;
    const uint32_t part = k->part, channels = k->channels, down = mct_magnitude(k->tap_row) * k->wide * part;
    const int32_t pixel = (int32_t)(part * sizeof(mct_elem));
    const struct mct_x_line_steps steps = {pixel, -pixel, -2 * pixel, 3 * pixel,
                                           pixel * (int32_t)(k->wide + 1 - width)};
    const mct_elem *x = k->xs[mct_depthwise_place(s)] + c, *dy = k->ys[mct_depthwise_place(s)] + c;
    float *acc = g->acc + s->channel + c;
    const bool lines = k->row_step == 1 && k->column_step == 1 && width > 1;
    const mct_elem *last = x;
    if (pixels % 2)
        last += lines ? (rows - 1) * k->wide * part + (width - 1) * part
                      : g->table[pixels - 1] / sizeof(mct_elem);
#pragma clang loop unroll(disable)
    for (uint32_t i = 0; i < 3; i++, x += down, last += down, acc += 3 * channels) {
        float sum[6] = {
            acc[0], acc[1], acc[channels], acc[channels + 1], acc[2 * channels], acc[2 * channels + 1]};
        if (lines)
            mct_x_depthwise_lines(sum, x, dy, &steps, rows, width);
        else if (pixels >= 2)
            mct_x_depthwise_3_taps(sum, x, dy, g->table, pixel, pixels / 2);
        if (pixels % 2)
            lone(sum, last, dy + (pixels - 1) * part, part);
        acc[0] = mct_canonical(sum[0]), acc[1] = mct_canonical(sum[1]);
        acc[channels] = mct_canonical(sum[2]), acc[channels + 1] = mct_canonical(sum[3]);
        acc[2 * channels] = mct_canonical(sum[4]), acc[2 * channels + 1] = mct_canonical(sum[5]);
    }
}

static void walk(const struct gradient *g, float *acc, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t bytes = TAPS * k->channels * sizeof(float);
    struct mct_depthwise_step s = {0}, next = {0};
    struct mct_depthwise_rows rows = mct_depthwise_rows_of(k, &s, worker, workers);
    uint32_t first, last, group = mct_dma_begin();
    mct_depthwise_bring(k, &rows, &s);
    if (worker == workers - 1)
        mct_depthwise_move(k, &s, true);
    if (worker == 0)
        mct_l1_in(g->acc, acc, bytes);
    mct_depthwise_sides(k, 0, worker, workers);
    if (k->row_step != 1 || k->column_step != 1 || k->out_width == 1)
        fill_table(g, worker, workers);
    mct_split(k->part / 2, worker, workers, &first, &last);
    for (bool more = true; more; s = next) {
        mct_dma_wait(group);
        mct_barrier(); /* this step's operands are here, the last one's free */
        group = mct_dma_begin();
        if (s.turn == 0)
            mct_depthwise_sides(k, 1, worker, workers);
        more = mct_depthwise_bring_next(k, &rows, &next, worker, workers);
        if (more && worker == workers - 1)
            mct_depthwise_move(k, &next, true);
        for (uint32_t pair = first; pair < last; pair++)
            two_channels(g, &s, 2 * pair);
    }
    mct_dma_wait(group);
    mct_barrier();
    if (worker == 0) {
        group = mct_dma_begin();
        mct_l1_out(acc, g->acc, bytes);
        mct_dma_wait(group);
    }
}

void MCT_TILED(depthwise_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_weight_gradient *d = args;
    struct gradient g = {.walk = {
                             .x = d->x,
                             .y = (mct_elem *)(uintptr_t)d->dy, /* only read */
                             .batch = d->batch,
                             .height = d->height,
                             .width = d->width,
                             .out_height = d->out_height,
                             .out_width = d->out_width,
                             .channels = d->channels,
                             .row_step = d->stride_h,
                             .column_step = d->stride_w,
                             .tap_row = (int32_t)d->dilation_h,
                             .tap_column = 1,
                             .top = -(int32_t)d->pad_top,
                             .left = -(int32_t)d->pad_left,
                             .tile_rows = d->tile_rows,
                             .part = d->tile_columns,
                         }};
    const bool even = d->batch == 1 || d->out_height * d->out_width % 2 == 0;
    if (d->kernel_h == 3 && d->kernel_w == 3 && d->dilation_w == 1 && d->channels % 4 == 0 && even &&
        plan(&g))
        walk(&g, d->acc, worker, workers);
    else
        mct_any_shape_depthwise_weight_gradient(args, worker, workers);
}
#else
#include "../depthwise_weight_gradient.c"
#endif
