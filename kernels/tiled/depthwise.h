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
    uint32_t tall, wide; /* rows and columns of x in a tile */
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

/* Bytes of x and y for tiles of so many rows; x has one more, which is read in vain. */
MCT_INLINE uint32_t mct_depthwise_bytes(const struct mct_depthwise_walk *k, uint32_t rows) {
    return 2 * ((mct_depthwise_tall(k, rows) + 1) * k->wide + rows * k->out_width) * k->part *
           (uint32_t)sizeof(mct_elem);
}

/* Rows of a tile, so many that a few tiles make the whole and two fit `room`; 0: not even one does. */
static __attribute__((noinline)) uint32_t mct_depthwise_most(struct mct_depthwise_walk *k, uint32_t room,
                                                             uint32_t granule) {
    for (;; k->part /= 2) {
        const uint32_t least = mct_depthwise_bytes(k, granule);
        const uint32_t more = mct_depthwise_bytes(k, 2 * granule) - least;
        const uint32_t most = least > room ? 0 : (1 + (room - least) / more) * granule;
        if (most < 4 && k->part % (2 * MCT_DEPTHWISE_PART) == 0)
            continue;
        if (most == 0)
            return 0;
        uint32_t tiles = mct_ceil_div(k->out_height, most);
        if (k->part == k->channels && tiles < 3)
            tiles = k->out_height < 8 ? 2 : 3;
        return mct_min(mct_ceil_div(k->out_height, tiles * granule) * granule, most);
    }
}

/* Lays out what is left of L1: twice x and y of a tile. Tiles have whole rows, in multiples of `granule`,
 * which is 1 or 2, but for the last, and a part of the channels; false: none fits. */
static bool mct_depthwise_tiles(struct mct_depthwise_walk *k, struct mct_l1 l1, uint32_t granule) {
    const uint32_t room = l1.left < 64 ? 0 : l1.left - 64;
    const uint32_t whole = (k->out_height + granule - 1) & ~(granule - 1);
    const bool chosen = k->tile_rows || k->part;
    k->wide = (k->out_width - 1) * k->column_step + 1 + 2 * mct_magnitude(k->tap_column);
    /* a few parts, so that little is waited for at the beginning and the end */
    if (!k->part)
        k->part = mct_ceil_div(k->channels, MCT_DEPTHWISE_PARTS * MCT_DEPTHWISE_PART) * MCT_DEPTHWISE_PART;
    if (k->part >= k->channels || k->part % 4 ||
        (k->part == MCT_DEPTHWISE_PART ? k->channels % MCT_DEPTHWISE_PART : k->channels % k->part))
        k->part = k->channels;
    k->tile_rows = mct_min((mct_min(k->tile_rows, whole) + granule - 1) & ~(granule - 1), whole);
    if (k->tile_rows == 0 && k->part < k->channels)
        k->tile_rows = whole;
    if (k->tile_rows == 0 || mct_depthwise_bytes(k, k->tile_rows) > room)
        k->tile_rows = chosen && k->tile_rows ? 0 : mct_depthwise_most(k, room, granule);
    if (k->tile_rows == 0)
        return false;
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

/* Whether tiles have all rows. */
MCT_INLINE bool mct_depthwise_whole(const struct mct_depthwise_walk *k) {
    return k->tile_rows >= k->out_height;
}

/* Where the walk is: the first row of y and the first channel of a tile. They take turns between two places.
 */
struct mct_depthwise_step {
    uint32_t sample, row, channel, turn;
};

MCT_INLINE uint32_t mct_depthwise_place(const struct mct_depthwise_step *s) {
    return s->turn % 2;
}

/* Rows of y. */
MCT_INLINE uint32_t mct_depthwise_rows(const struct mct_depthwise_walk *k,
                                       const struct mct_depthwise_step *s) {
    return mct_min(k->tile_rows, k->out_height - s->row);
}

MCT_INLINE void mct_depthwise_next(const struct mct_depthwise_walk *k, struct mct_depthwise_step *s) {
    s->turn++;
    s->channel += k->part;
    if (s->channel < k->channels)
        return;
    s->channel = 0;
    s->row += k->tile_rows;
    if (s->row < k->out_height)
        return;
    s->row = 0;
    s->sample++;
}

/* What a worker brings of the tiles of x: every workers-th row, as far as it is inside x. */
struct mct_depthwise_rows {
    const mct_elem *from;         /* of the first one, of part 0 */
    uint32_t at, count;           /* where that is in L1, in elements; rows */
    uint32_t above, below;        /* rows of zeros before and behind them */
    uint32_t pixels, over, under; /* of a row; elements from one to the next, in x and in L1 */
};

static struct mct_depthwise_rows mct_depthwise_rows_of(const struct mct_depthwise_walk *k,
                                                       const struct mct_depthwise_step *s, uint32_t worker,
                                                       uint32_t workers) {
    struct mct_depthwise_rows rows = {.over = workers * k->width * k->channels,
                                      .under = workers * k->wide * k->part};
    const int32_t left = k->left + (k->tap_column < 0 ? 2 * k->tap_column : 0);
    const uint32_t skip = left < 0 ? (uint32_t)-left : 0, ahead = left > 0 ? (uint32_t)left : 0;
    if (skip >= k->wide || ahead >= k->width)
        return rows;
    rows.pixels = mct_min(k->wide - skip, k->width - ahead);
    const uint32_t tall = mct_depthwise_tall(k, mct_depthwise_rows(k, s));
    const int32_t top = (int32_t)(s->row * k->row_step) + k->top + (k->tap_row < 0 ? 2 * k->tap_row : 0);
    int32_t row = top + (int32_t)worker;
    for (; row < 0 && row - top < (int32_t)tall; row += (int32_t)workers)
        rows.above++;
    rows.from = k->x + ((s->sample * k->height + (uint32_t)row) * k->width + ahead) * k->channels;
    rows.at = (worker * k->wide + skip) * k->part + rows.above * rows.under;
    for (; row - top < (int32_t)tall; row += (int32_t)workers)
        if (row < (int32_t)k->height)
            rows.count++;
        else
            rows.below++;
    return rows;
}

/* Brings a tile, columns outside x excepted. */
static void mct_depthwise_bring(const struct mct_depthwise_walk *k, const struct mct_depthwise_rows *rows,
                                const struct mct_depthwise_step *s) {
    mct_elem *to = k->xs[mct_depthwise_place(s)] + rows->at;
    const mct_elem *from = rows->from + s->channel;
    if (s->turn < 2 || !mct_depthwise_whole(k)) { /* else the rows outside are always the same */
        for (uint32_t i = 1; i <= rows->above; i++)
            mct_x_zero(to - i * rows->under, rows->pixels * k->part / 2);
        for (uint32_t i = 0; i < rows->below; i++)
            mct_x_zero(to + (rows->count + i) * rows->under, rows->pixels * k->part / 2);
    }
    const uint32_t pixels = rows->pixels, pixel = k->part * sizeof(mct_elem);
    const uint32_t stride = k->channels * sizeof(mct_elem), under = rows->under, over = rows->over;
    for (uint32_t n = rows->count; n; n--, to += under, from += over)
        mct_dma_in_rows(to, from, pixels, pixel, stride);
}

/* Goes on to the next step and brings its tile; false: there is none. */
static bool mct_depthwise_bring_next(const struct mct_depthwise_walk *k, struct mct_depthwise_rows *rows,
                                     struct mct_depthwise_step *s, uint32_t worker, uint32_t workers) {
    mct_depthwise_next(k, s);
    if (s->sample == k->batch)
        return false;
    if (s->channel == 0)
        *rows = mct_depthwise_rows_of(k, s, worker, workers);
    mct_depthwise_bring(k, rows, s);
    return true;
}

/* Begins to move a tile of y, in pieces if it has more bytes than a transfer may have. */
static void mct_depthwise_move(const struct mct_depthwise_walk *k, const struct mct_depthwise_step *s,
                               bool in) {
    const uint32_t pixel = k->part * sizeof(mct_elem), stride = k->channels * sizeof(mct_elem);
    mct_elem *here = k->ys[mct_depthwise_place(s)];
    mct_elem *memory = k->y + s->channel + (s->sample * k->out_height + s->row) * k->out_width * k->channels;
    uint32_t left = mct_depthwise_rows(k, s) * k->out_width, n = left;
    if (left * pixel > MCT_LONGEST_TRANSFER)
        n = k->out_width; /* a row of it has fewer */
    for (; left; left -= n, here += n * k->part, memory += n * k->channels)
        if (in)
            mct_dma_in_rows(here, memory, n, pixel, stride);
        else
            mct_dma_out_rows(memory, here, n, pixel, stride);
}

/* Sets the columns outside x in one of the places, which bring leaves alone, to zero. */
static void mct_depthwise_sides(const struct mct_depthwise_walk *k, uint32_t place, uint32_t worker,
                                uint32_t workers) {
    const int32_t left = k->left + (k->tap_column < 0 ? 2 * k->tap_column : 0);
    const uint32_t skip = mct_min(left < 0 ? (uint32_t)-left : 0, k->wide);
    const int32_t inside = (int32_t)k->width - left;
    const uint32_t end = inside < (int32_t)skip ? skip : mct_min((uint32_t)inside, k->wide);
    const uint32_t before = skip * k->part, after = (k->wide - end) * k->part, pitch = k->wide * k->part;
    mct_elem *row = k->xs[place] + worker * pitch;
    for (uint32_t r = worker; r < k->tall; r += workers, row += workers * pitch) {
        mct_x_zero(row, before / 2);
        mct_x_zero(row + pitch - after, after / 2);
    }
}

#endif
