/* The tiles of a depthwise convolution with 3 by 3 taps in L1: whole rows, padded with zeros. They take turns
 * between two places, so that DMA brings the next one while the workers compute. */
#ifndef MCT_TILED_DEPTHWISE_H
#define MCT_TILED_DEPTHWISE_H

#include "simd/depthwise_xpulp.h"
#include "tiled/l1.h"

struct mct_depthwise_walk {
    const mct_elem *x, *w;
    mct_elem *y;
    const float *bias; /* or null */
    uint32_t bound;    /* see mct_x_depthwise */
    uint32_t batch, height, width, out_height, out_width, channels;
    uint32_t row_step, column_step; /* in x, from one result to the next */
    int32_t tap_row, tap_column;    /* in x, from one tap to the next */
    int32_t top, left;              /* what the first tap of the first result meets in x */
    /* the plan */
    uint32_t tile_rows, tiles; /* rows of y in a tile, as asked for at first or 0; tiles of a sample */
    uint32_t tall, wide;       /* rows and columns of x in a tile */
    mct_elem *xs[2], *ys[2], *w_here;
    float *bias_here;
};

MCT_INLINE uint32_t mct_magnitude(int32_t v) {
    return (uint32_t)(v < 0 ? -v : v);
}

/* Rows of x that `rows` rows of y need. */
MCT_INLINE uint32_t mct_depthwise_tall(const struct mct_depthwise_walk *k, uint32_t rows) {
    return (rows - 1) * k->row_step + 1 + 2 * mct_magnitude(k->tap_row);
}

/* Lays out what is left of L1, rows of a tile in multiples of `granule`; false: it does not fit. */
static bool mct_depthwise_tiles(struct mct_depthwise_walk *k, struct mct_l1 l1, uint32_t granule) {
    const uint32_t pixel = k->channels * sizeof(mct_elem);
    k->wide = (k->out_width - 1) * k->column_step + 1 + 2 * mct_magnitude(k->tap_column);
    /* a few tiles, so that little is waited for at the beginning and the end */
    const uint32_t asked = mct_ceil_div(mct_min(k->tile_rows, k->out_height), granule) * granule;
    k->tile_rows =
        asked ? asked : mct_ceil_div(k->out_height, (k->out_height < 8 ? 2 : 3) * granule) * granule;
    for (; k->tile_rows > 0; k->tile_rows -= asked ? asked : granule)
        if (2 * (mct_depthwise_tall(k, k->tile_rows) * k->wide + k->tile_rows * k->out_width) * pixel + 64 <=
            l1.left)
            break;
    if (k->tile_rows == 0)
        return false;
    k->tiles = mct_ceil_div(k->out_height, k->tile_rows);
    k->tall = mct_depthwise_tall(k, k->tile_rows);
    for (uint32_t i = 0; i < 2; i++) {
        k->xs[i] = mct_l1_take(&l1, k->tall * k->wide * pixel);
        k->ys[i] = mct_l1_take(&l1, k->tile_rows * k->out_width * pixel);
    }
    return true;
}

MCT_INLINE uint32_t mct_depthwise_rows(const struct mct_depthwise_walk *k, uint32_t tile) {
    return mct_min(k->tile_rows, k->out_height - tile * k->tile_rows);
}

/* Where the walk is; tiles take turns between two places. */
struct mct_depthwise_step {
    uint32_t sample, tile, place;
};

static struct mct_depthwise_step mct_depthwise_next(const struct mct_depthwise_walk *k,
                                                    struct mct_depthwise_step s) {
    s.place ^= 1;
    if (++s.tile == k->tiles) {
        s.tile = 0;
        s.sample++;
    }
    return s;
}

/* Brings this worker's rows of a tile, columns outside x excepted. */
static void mct_depthwise_bring(const struct mct_depthwise_walk *k, struct mct_depthwise_step s,
                                uint32_t worker, uint32_t workers) {
    const int32_t left = k->left + (k->tap_column < 0 ? 2 * k->tap_column : 0);
    const uint32_t skip = left < 0 ? (uint32_t)-left : 0, ahead = left > 0 ? (uint32_t)left : 0;
    if (skip >= k->wide || ahead >= k->width)
        return;
    const uint32_t elements = mct_min(k->wide - skip, k->width - ahead) * k->channels;
    const uint32_t tall = mct_depthwise_tall(k, mct_depthwise_rows(k, s.tile));
    const int32_t top =
        (int32_t)(s.tile * k->tile_rows * k->row_step) + k->top + (k->tap_row < 0 ? 2 * k->tap_row : 0);
    for (uint32_t r = worker; r < tall; r += workers) {
        const int32_t row = top + (int32_t)r;
        mct_elem *to = k->xs[s.place] + (r * k->wide + skip) * k->channels;
        if (row < 0 || row >= (int32_t)k->height)
            mct_x_zero(to, elements / 2);
        else
            mct_l1_in(to, k->x + ((s.sample * k->height + (uint32_t)row) * k->width + ahead) * k->channels,
                      elements * sizeof(mct_elem));
    }
}

/* Sets the columns outside x, which bring leaves alone, to zero. */
static void mct_depthwise_sides(const struct mct_depthwise_walk *k, uint32_t worker, uint32_t workers) {
    const int32_t left = k->left + (k->tap_column < 0 ? 2 * k->tap_column : 0);
    const uint32_t skip = mct_min(left < 0 ? (uint32_t)-left : 0, k->wide);
    const int32_t inside = (int32_t)k->width - left;
    const uint32_t end = inside < (int32_t)skip ? skip : mct_min((uint32_t)inside, k->wide);
    for (uint32_t r = worker; r < 2 * k->tall; r += workers) {
        mct_elem *row = k->xs[r % 2] + r / 2 * k->wide * k->channels;
        mct_x_zero(row, skip * k->channels / 2);
        mct_x_zero(row + end * k->channels, (k->wide - end) * k->channels / 2);
    }
}

#endif
