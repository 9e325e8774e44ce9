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

static void bring(const struct gradient *g, struct mct_depthwise_step s, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_walk *k = &g->walk;
    mct_depthwise_bring(k, s, worker, workers);
    if (worker == workers - 1)
        mct_depthwise_move(k, s, true);
}

/* The last pixel, when it has no partner. */
static float lone(float sum, const mct_elem *x, const mct_elem *dy) {
    return mct_dot_low(sum, mct_load_low(x), mct_load_low(dy));
}

/* Two channels of a tile. */
static void two_channels(const struct gradient *g, struct mct_depthwise_step s, uint32_t c) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t pixels = mct_depthwise_rows(k, s.tile) * k->out_width, pitch = k->wide * k->part;
    const int32_t column = (int32_t)(k->part * sizeof(mct_elem));
    const mct_elem *x = k->xs[s.place] + c, *dy = k->ys[s.place] + c;
    const uint32_t down = mct_magnitude(k->tap_row) * pitch;
    float *acc = g->acc + s.part * k->part + c, sum[2 * TAPS];
    for (uint32_t i = 0; i < 2 * TAPS; i++)
        sum[i] = acc[i / 2 * k->channels + i % 2];
    if (pixels >= 2) {
        mct_x_depthwise_3_taps(sum, x, dy, g->table, column, pixels / 2);
        mct_x_depthwise_6_taps(sum + 6, x + down, dy, g->table, column,
                               (int32_t)(down * sizeof(mct_elem)) - 2 * column, pixels / 2);
    }
    if (pixels % 2) {
        x += g->table[pixels - 1] / sizeof(mct_elem);
        dy += (pixels - 1) * k->part;
        for (uint32_t i = 0; i < 2 * TAPS; i++) {
            const uint32_t tap = i / 2;
            sum[i] = lone(sum[i], x + tap / 3 * down + tap % 3 * k->part + i % 2, dy + i % 2);
        }
    }
    for (uint32_t i = 0; i < 2 * TAPS; i++)
        acc[i / 2 * k->channels + i % 2] = mct_canonical(sum[i]);
}

static void walk(const struct gradient *g, float *acc, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t bytes = TAPS * k->channels * sizeof(float);
    struct mct_depthwise_step s = {0}, next;
    uint32_t first, last, group = mct_dma_begin();
    bring(g, s, worker, workers);
    if (worker == 0)
        mct_l1_in(g->acc, acc, bytes);
    mct_depthwise_sides(k, worker, workers);
    fill_table(g, worker, workers);
    mct_split(k->part / 2, worker, workers, &first, &last);
    for (; s.sample < k->batch; s = next) {
        mct_dma_wait(group);
        mct_barrier(); /* this step's operands are here, the last one's free */
        group = mct_dma_begin();
        next = mct_depthwise_next(k, s);
        if (next.sample < k->batch)
            bring(g, next, worker, workers);
        for (uint32_t pair = first; pair < last; pair++)
            two_channels(g, s, 2 * pair);
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
