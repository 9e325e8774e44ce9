/* Weight gradient of a depthwise convolution through L1: a variant for binary16, 3 by 3 taps and channels in
 * fours. Other shapes take the way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(depthwise_weight_gradient)
#include "../depthwise_weight_gradient.c"
#include "tiled/depthwise.h"
#include "tiled/squares.h"

enum { TAPS = 9 };

/* Tiles are those of the forward pass, with dy in place of y; they have whole pairs of pixels but for the
 * last. What comes first are the sums, [TAPS][channels], and of a tile's pixels, unless they are in lines,
 * where the first tap is in x, in bytes. */
static float *sums(const struct mct_depthwise_place *p) {
    return (float *)(void *)p->own[0];
}

static uint32_t *table(const struct mct_depthwise_place *p) {
    return (uint32_t *)(void *)p->own[1];
}

static __attribute__((noinline)) void fill_table(const struct mct_depthwise_place *p) {
    const struct mct_depthwise_walk *k = p->walk;
    uint32_t *to = table(p);
    for (uint32_t r = p->worker; r < k->rows; r += p->workers)
        for (uint32_t c = 0; c < k->out_width; c++)
            to[r * k->out_width + c] =
                (r * k->row_step * k->part + c * k->column_step * k->pitch) * (uint32_t)sizeof(mct_elem);
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
static __attribute__((noinline)) void lone(float *acc, const mct_elem *x, const mct_elem *dy, uint32_t pitch,
                                           uint32_t down, uint32_t channels) {
    const mct_pair dy0 = mct_load_low(dy), dy1 = mct_load_low(dy + 1);
    for (uint32_t row = 0; row < 3; row++, x += down - 3 * pitch)
        for (uint32_t i = 0; i < 3; i++, x += pitch, acc += channels) {
            acc[0] = mct_canonical(mct_dot_low(acc[0], mct_load_low(x), dy0));
            acc[1] = mct_canonical(mct_dot_low(acc[1], mct_load_low(x + 1), dy1));
        }
}

/* Pairs of pixels anywhere, which the table tells. */
static __attribute__((noinline)) void scattered(const struct mct_depthwise_place *p, float *acc,
                                                const mct_elem *x, const mct_elem *dy, uint32_t down,
                                                uint32_t pairs) {
    const struct mct_depthwise_walk *k = p->walk;
    for (uint32_t i = 0; i < 3; i++, x += down, acc += 3 * k->channels) {
        float sum[6];
        get_sums(sum, acc, k->channels);
        mct_x_depthwise_3_taps(sum, x, dy, table(p), (int32_t)(k->pitch * sizeof(mct_elem)),
                               (int32_t)(k->part * sizeof(mct_elem)), pairs);
        put_sums(acc, sum, k->channels);
    }
}

/* Pairs [first, last) of channels of a tile, pixels anywhere. */
static __attribute__((noinline)) void anywhere(const struct mct_depthwise_place *p,
                                               const struct mct_depthwise_step *s, uint32_t first,
                                               uint32_t last) {
    const struct mct_depthwise_walk *k = p->walk;
    const uint32_t pixels = mct_depthwise_rows(k, s) * k->out_width,
                   down = mct_magnitude(k->tap_row) * k->part;
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        const mct_elem *x = mct_depthwise_x_of(p, s) + c, *dy = mct_depthwise_y_of(p, s) + c;
        float *acc = sums(p) + s->channel + c;
        if (pixels >= 2)
            scattered(p, acc, x, dy, down, pixels / 2);
        if (pixels % 2)
            lone(acc, x + table(p)[pixels - 1] / sizeof(mct_elem), dy + (pixels - 1) * k->part, k->pitch,
                 down, k->channels);
    }
}

static void get_ready(const struct mct_depthwise_place *p) {
    if (p->walk->own_bytes[1])
        fill_table(p);
    if (!p->walk->own_from[0]) { /* the sums are to be squared, and begin with zeros */
        uint32_t first, last;
        mct_split(TAPS * p->walk->channels / 4, p->worker, p->workers, &first, &last);
        mct_sums_zero(sums(p) + 4 * first, 4 * (last - first));
    }
}

static void tile(const struct mct_depthwise_place *p, const struct mct_depthwise_step *s, uint32_t first,
                 uint32_t last) {
    const struct mct_depthwise_walk *k = p->walk;
    if (k->own_bytes[1]) {
        anywhere(p, s, first, last);
        return;
    }
    const uint32_t rows = mct_depthwise_rows(k, s), width = k->out_width;
    const int32_t pixel = (int32_t)(k->part * sizeof(mct_elem)),
                  column = (int32_t)(k->pitch * sizeof(mct_elem));
    const mct_elem *x = mct_depthwise_x_of(p, s), *dy = mct_depthwise_y_of(p, s) + k->part;
    float *acc = sums(p) + s->channel;
    for (uint32_t c = 2 * first; c < 2 * last; c += 2) {
        struct mct_x_lines lines = {
            .x = x + c,
            .dy = dy + c,
            .acc = acc + c,
            .tap = (int32_t)(k->channels * sizeof *acc) - 4,
            .on = column,
            .twice_back = -2 * column,
            .wrap = pixel - (int32_t)(width - 1) * column,
            .next = pixel - (int32_t)k->wide * column,
            .back = -pixel,
            .thrice_on = 3 * pixel,
            .lines = width % 2 ? rows / 2 : rows,
            .pairs = width / 2,
            .odd = width % 2 & rows,
            .down = k->tap_row * pixel,
            .left = 3,
        };
        mct_x_depthwise_lines(&lines, width);
    }
}

/* A share of the squares of all sums; accumulators come where tiles of x were. */
static __attribute__((noinline)) void square(const struct mct_depthwise_place *p, float *acc) {
    const struct mct_depthwise_walk *k = p->walk;
    const uint32_t bytes = p->tiles * k->x_size * (uint32_t)sizeof(mct_elem) / p->workers & ~15u;
    uint32_t first, last;
    mct_split(TAPS * k->channels / 4, p->worker, p->workers, &first, &last);
    mct_l1_squares(acc + 4 * first, sums(p) + 4 * first, 4 * (last - first),
                   (uint8_t *)p->xs + p->worker * bytes, bytes);
}

void MCT_TILED(depthwise_weight_gradient)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_depthwise_weight_gradient *d = args;
    const struct mct_depthwise_walk *k = args;
    struct mct_depthwise_place p = {.worker = worker, .workers = workers};
    if (mct_depthwise_all(&p, k, get_ready, tile)) {
        if (!k->own_from[0]) {
            square(&p, d->acc);
        } else if (worker == 0) {
            const uint32_t group = mct_dma_begin();
            mct_l1_out(d->acc, sums(&p), k->own_bytes[0]);
            mct_dma_wait(group);
        }
        return;
    }
    mct_any_shape_depthwise_weight_gradient(args, worker, workers);
}
#else
#include "../depthwise_weight_gradient.c"
#endif
