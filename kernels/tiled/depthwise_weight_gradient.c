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

/* Whether pixels are as far from one another in x as in dy. */
static bool along_lines(const struct mct_depthwise_walk *k) {
    return k->row_step == 1 && k->column_step == 1 && k->out_width > 1;
}

static void fill_table(const struct gradient *g, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t pixel = k->part * sizeof(mct_elem);
    for (uint32_t r = worker; r < k->tile_rows; r += workers)
        for (uint32_t c = 0; c < k->out_width; c++)
            g->table[r * k->out_width + c] = (r * k->row_step * k->wide + c * k->column_step) * pixel;
}

/* The sums of three taps, which are in a row, in two channels. */
static void get_sums(float sum[6], const float *acc, uint32_t channels) {
    for (uint32_t i = 0; i < 6; i += 2, acc += channels)
        sum[i] = acc[0], sum[i + 1] = acc[1];
}

static void put_sums(float *acc, const float sum[6], uint32_t channels) {
    for (uint32_t i = 0; i < 6; i += 2, acc += channels)
        acc[0] = mct_canonical(sum[i]), acc[1] = mct_canonical(sum[i + 1]);
}

/* The last pixel, when it has no partner: its first tap in x, itself in dy. */
static __attribute__((noinline)) void lone(float *acc, const mct_elem *x, const mct_elem *dy, uint32_t part,
                                           uint32_t down, uint32_t channels) {
    const mct_pair dy0 = mct_load_low(dy), dy1 = mct_load_low(dy + 1);
    for (uint32_t row = 0; row < 3; row++, x += down - 3 * part)
        for (uint32_t i = 0; i < 3; i++, x += part, acc += channels) {
            acc[0] = mct_canonical(mct_dot_low(acc[0], mct_load_low(x), dy0));
            acc[1] = mct_canonical(mct_dot_low(acc[1], mct_load_low(x + 1), dy1));
        }
}

/* Pairs of pixels anywhere, which the table tells. */
static __attribute__((noinline)) void scattered(const struct gradient *g, float *acc, const mct_elem *x,
                                                const mct_elem *dy, uint32_t down, uint32_t pairs) {
    const struct mct_depthwise_walk *k = &g->walk;
    for (uint32_t i = 0; i < 3; i++, x += down, acc += 3 * k->channels) {
        float sum[6];
        get_sums(sum, acc, k->channels);
        mct_x_depthwise_3_taps(sum, x, dy, g->table, (int32_t)(k->part * sizeof(mct_elem)), pairs);
        put_sums(acc, sum, k->channels);
    }
}

/* Two channels of a tile, one row of taps after the other. */
static void two_channels(const struct gradient *g, const struct mct_depthwise_step *s, uint32_t c) {
    const struct mct_depthwise_walk *k = &g->walk;
    const uint32_t rows = mct_depthwise_rows(k, s), width = k->out_width, pixels = rows * width;
    const uint32_t part = k->part, channels = k->channels, down = mct_magnitude(k->tap_row) * k->wide * part;
    const int32_t pixel = (int32_t)(part * sizeof(mct_elem));
    const mct_elem *x = k->xs[mct_depthwise_place(s)] + c, *dy = k->ys[mct_depthwise_place(s)] + c;
    const bool lines = along_lines(k);
    float *acc = g->acc + s->channel + c;
    if (!lines) {
        if (pixels >= 2)
            scattered(g, acc, x, dy, down, pixels / 2);
    } else {
        const struct mct_x_line_steps steps = {pixel, -pixel, -2 * pixel, 3 * pixel,
                                               pixel * (int32_t)(k->wide + 1 - width)};
        const mct_elem *row = x;
        float *to = acc;
#pragma clang loop unroll(disable)
        for (uint32_t i = 0; i < 3; i++, row += down, to += 3 * channels) {
            float sum[6];
            get_sums(sum, to, channels);
            mct_x_depthwise_lines(sum, row, dy, &steps, rows, width);
            put_sums(to, sum, channels);
        }
    }
    if (pixels % 2) {
        x += lines ? ((rows - 1) * k->wide + width - 1) * part : g->table[pixels - 1] / sizeof(mct_elem);
        lone(acc, x, dy + (pixels - 1) * part, part, down, channels);
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
    if (!along_lines(k))
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
