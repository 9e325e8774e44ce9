/* The tiles of a depthwise convolution with 3 by 3 taps in L1: whole rows of some channels, padded with
 * zeros. They take turns between two places, so that DMA brings the next one while the workers compute. */
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
    /* the plan; 0 at first, or as asked for: rows of y and channels of a tile */
    uint32_t tile_rows, part;
    uint32_t tiles, parts; /* tiles of rows, and of channels, of a sample */
    uint32_t tall, wide;   /* rows and columns of x in a tile */
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

/* Channels of a tile at least, unless x has fewer: two for each of eight workers. */
enum { MCT_DEPTHWISE_PART = 16, MCT_DEPTHWISE_PARTS = 4 };

/* Rows of y that fit `room` bytes twice, with the rows of x that they need and one more, which is read in
 * vain. */
MCT_INLINE uint32_t mct_depthwise_most(const struct mct_depthwise_walk *k, uint32_t room) {
    const uint32_t pixel = 2 * k->part * sizeof(mct_elem);
    const uint32_t more = (mct_depthwise_tall(k, 1) + 1) * k->wide * pixel, first = k->out_width * pixel;
    if (more + first > room)
        return 0;
    return 1 + (room - more - first) / (k->row_step * k->wide * pixel + first);
}

/* Lays out what is left of L1: twice x and y of a tile. Tiles have whole rows, in multiples of `granule` but
 * for the last, and a part of the channels; false: none fits. */
static bool mct_depthwise_tiles(struct mct_depthwise_walk *k, struct mct_l1 l1, uint32_t granule) {
    const uint32_t room = l1.left < 64 ? 0 : l1.left - 64;
    const bool chosen = k->tile_rows || k->part;
    k->wide = (k->out_width - 1) * k->column_step + 1 + 2 * mct_magnitude(k->tap_column);
    /* a few parts, so that little is waited for at the beginning and the end */
    if (!k->part)
        k->part = mct_ceil_div(k->channels, MCT_DEPTHWISE_PARTS * MCT_DEPTHWISE_PART) * MCT_DEPTHWISE_PART;
    if (k->part >= k->channels || k->channels % k->part || k->part % 4)
        k->part = k->channels;
    uint32_t most = mct_depthwise_most(k, room) / granule * granule;
    for (; !chosen && most < 4 && k->part % (2 * MCT_DEPTHWISE_PART) == 0;
         most = mct_depthwise_most(k, room) / granule * granule)
        k->part /= 2;
    k->parts = k->channels / k->part;
    if (k->tile_rows) {
        k->tile_rows = mct_ceil_div(mct_min(k->tile_rows, k->out_height), granule) * granule;
        if (k->tile_rows > most)
            return false;
    } else {
        if (most == 0)
            return false;
        uint32_t tiles = mct_ceil_div(k->out_height, most);
        if (k->parts == 1 && tiles < 3)
            tiles = k->out_height < 8 ? 2 : 3;
        k->tile_rows = mct_min(mct_ceil_div(k->out_height, tiles * granule) * granule, most);
    }
    k->tiles = mct_ceil_div(k->out_height, k->tile_rows);
    k->tall = mct_depthwise_tall(k, k->tile_rows);
    const uint32_t row = k->wide * k->part;
    for (uint32_t i = 0; i < 2; i++) {
        k->xs[i] = mct_l1_take(&l1, (k->tall + 1) * row * sizeof(mct_elem));
        k->ys[i] = mct_l1_take(&l1, k->tile_rows * k->out_width * k->part * sizeof(mct_elem));
        if (k->tap_row < 0) /* it is before the others */
            k->xs[i] += row;
    }
    return true;
}

MCT_INLINE uint32_t mct_depthwise_rows(const struct mct_depthwise_walk *k, uint32_t tile) {
    return mct_min(k->tile_rows, k->out_height - tile * k->tile_rows);
}

/* Where the walk is; tiles take turns between two places. */
struct mct_depthwise_step {
    uint32_t sample, tile, part, place;
};

static struct mct_depthwise_step mct_depthwise_next(const struct mct_depthwise_walk *k,
                                                    struct mct_depthwise_step s) {
    s.place ^= 1;
    if (++s.part == k->parts) {
        s.part = 0;
        if (++s.tile == k->tiles) {
            s.tile = 0;
            s.sample++;
        }
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
    const uint32_t pixels = mct_min(k->wide - skip, k->width - ahead), row_bytes = k->part * sizeof(mct_elem);
    const uint32_t tall = mct_depthwise_tall(k, mct_depthwise_rows(k, s.tile));
    const int32_t top =
        (int32_t)(s.tile * k->tile_rows * k->row_step) + k->top + (k->tap_row < 0 ? 2 * k->tap_row : 0);
    const mct_elem *x = k->x + (s.sample * k->height * k->width + ahead) * k->channels + s.part * k->part;
    mct_elem *to = k->xs[s.place] + (worker * k->wide + skip) * k->part;
    for (uint32_t r = worker; r < tall; r += workers, to += workers * k->wide * k->part) {
        const int32_t row = top + (int32_t)r;
        if (row < 0 || row >= (int32_t)k->height)
            mct_x_zero(to, pixels * k->part / 2);
        else
            mct_dma_in_rows(to, x + (uint32_t)row * k->width * k->channels, pixels, row_bytes,
                            k->channels * sizeof(mct_elem));
    }
}

/* The place in memory of a tile of y. */
MCT_INLINE mct_elem *mct_depthwise_place(const struct mct_depthwise_walk *k, struct mct_depthwise_step s) {
    return k->y + (s.sample * k->out_height + s.tile * k->tile_rows) * k->out_width * k->channels +
           s.part * k->part;
}

/* Parts of y with more bytes than a transfer may have go in pieces. */
static void mct_depthwise_move(const struct mct_depthwise_walk *k, struct mct_depthwise_step s, bool in) {
    const uint32_t pixel = k->part * sizeof(mct_elem), stride = k->channels * sizeof(mct_elem);
    const uint32_t most = pixel > MCT_LONGEST_TRANSFER ? 1 : MCT_LONGEST_TRANSFER / pixel;
    mct_elem *memory = mct_depthwise_place(k, s), *here = k->ys[s.place];
    for (uint32_t left = mct_depthwise_rows(k, s.tile) * k->out_width, n; left; left -= n) {
        n = mct_min(left, most);
        if (in)
            mct_dma_in_rows(here, memory, n, pixel, stride);
        else
            mct_dma_out_rows(memory, here, n, pixel, stride);
        here += n * k->part;
        memory += n * k->channels;
    }
}

/* Sets the columns outside x, which bring leaves alone, to zero. */
static void mct_depthwise_sides(const struct mct_depthwise_walk *k, uint32_t worker, uint32_t workers) {
    const int32_t left = k->left + (k->tap_column < 0 ? 2 * k->tap_column : 0);
    const uint32_t skip = mct_min(left < 0 ? (uint32_t)-left : 0, k->wide);
    const int32_t inside = (int32_t)k->width - left;
    const uint32_t end = inside < (int32_t)skip ? skip : mct_min((uint32_t)inside, k->wide);
    for (uint32_t r = worker; r < 2 * k->tall; r += workers) {
        mct_elem *row = k->xs[r % 2] + r / 2 * k->wide * k->part;
        mct_x_zero(row, skip * k->part / 2);
        mct_x_zero(row + end * k->part, (k->wide - end) * k->part / 2);
    }
}

#endif
