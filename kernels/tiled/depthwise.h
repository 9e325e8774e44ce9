/* The tiles of a depthwise convolution with 3 by 3 taps in L1: whole rows of some channels, padded with
 * zeros. They take turns between two or four places, so that DMA brings the next ones while the workers
 * compute.
 *
 * In L1 a tile of x has its columns one after the other, each of which is one transfer. Code that runs but a
 * few times in a call comes from beyond the instruction cache: it has to be short. Hence the plan is made
 * when the model is compiled, by mcutrain/ops/depthwise_plan.py. */
#ifndef MCT_TILED_DEPTHWISE_H
#define MCT_TILED_DEPTHWISE_H

#include "simd/depthwise_xpulp.h"
#include "tiled/l1.h"

/* What the kernels' structures begin with; no rows: their shape is none for these kernels. */
struct mct_depthwise_walk {
    const mct_elem *x;
    mct_elem *y;             /* results; or dy, which is read */
    const void *own_from[2]; /* weights and biases, or sums; or null */
    uint32_t rows, part;     /* rows of y and channels of a tile */
    uint32_t channels, batch, height, width, out_height, out_width;
    uint32_t row_step, column_step; /* in x, from one result to the next */
    int32_t tap_row, tap_column;    /* in x, from one tap to the next */
    int32_t top, left;              /* where the first tile begins in x */
    /* columns of x in a tile, rows from one to the next: when tiles have all rows, zeros below a column are
     * those above the next one, too; elements of these; elements of a row in memory */
    uint32_t wide, high, pitch, line;
    uint32_t x_size, y_size; /* elements of a tile */
    uint32_t own_bytes[2];   /* of weights and biases, or of sums and a table */
    uint32_t down, y_in;     /* see mct_depthwise_tile; whether y is read */
    uint32_t bound;          /* see mct_x_depthwise */
    struct mct_depthwise_span {
        uint32_t above, inside, tall; /* rows of x in a tile: those above x, those inside, all */
    } span;                           /* when tiles have all rows */
    int32_t back, forth, result;      /* see struct mct_x_down */
    struct mct_depthwise_down {
        int32_t x, y; /* elements from where a tile begins to where the walk does */
        uint32_t twice;
    } walks[2]; /* in a tile, and in the last one, which may have fewer rows */
};
/* Rows of y before its first or behind its last, which are written in vain. */
enum { MCT_DEPTHWISE_VAIN = 3 };

MCT_INLINE uint32_t mct_magnitude(int32_t v) {
    return (uint32_t)(v < 0 ? -v : v);
}

/* Where a kernel is in L1, for one of its workers. */
struct mct_depthwise_place {
    const struct mct_depthwise_walk *walk;
    uint32_t tiles; /* how many there is room for, two or four */
    mct_elem *xs, *ys;
    uint8_t *own[2];
    uint32_t worker, workers;
};

/* Where the walk is: the first row of y and the first channel of a tile. */
struct mct_depthwise_step {
    uint32_t sample, row, channel, turn;
};

MCT_INLINE mct_elem *mct_depthwise_x_of(const struct mct_depthwise_place *p,
                                        const struct mct_depthwise_step *s) {
    return p->xs + (s->turn & (p->tiles - 1)) * p->walk->x_size;
}

MCT_INLINE mct_elem *mct_depthwise_y_of(const struct mct_depthwise_place *p,
                                        const struct mct_depthwise_step *s) {
    return p->ys + (s->turn & (p->tiles - 1)) * p->walk->y_size;
}

/* Rows of y. */
MCT_INLINE uint32_t mct_depthwise_rows(const struct mct_depthwise_walk *k,
                                       const struct mct_depthwise_step *s) {
    return mct_min(k->rows, k->out_height - s->row);
}

MCT_INLINE bool mct_depthwise_whole(const struct mct_depthwise_walk *k) {
    return k->rows >= k->out_height;
}

/* Goes on; false: there are no more. */
MCT_INLINE bool mct_depthwise_next(const struct mct_depthwise_walk *k, struct mct_depthwise_step *s) {
    s->turn++;
    s->channel += k->part;
    if (s->channel < k->channels)
        return true;
    s->channel = 0;
    s->row += k->rows;
    if (s->row < k->out_height)
        return true;
    s->row = 0;
    return ++s->sample < k->batch;
}

static __attribute__((noinline)) struct mct_depthwise_span
mct_depthwise_span(const struct mct_depthwise_walk *k, const struct mct_depthwise_step *s) {
    const uint32_t tall = (mct_depthwise_rows(k, s) - 1) * k->row_step + 1 + 2 * mct_magnitude(k->tap_row);
    const int32_t first = (int32_t)(s->row * k->row_step) + k->top, last = first + (int32_t)tall;
    const uint32_t above = first < 0 ? mct_min((uint32_t)-first, tall) : 0;
    const uint32_t behind = last < 0 ? 0 : mct_min((uint32_t)last, k->height),
                   before = (uint32_t)first + above;
    return (struct mct_depthwise_span){above, behind > before ? behind - before : 0, tall};
}

/* Brings the tile of a step, and those after it up to and including that of turn `last`: this worker's
 * columns as far as they are inside x, and y, if it is read; the step is the next one then. False: there are
 * no more. */
static __attribute__((noinline)) bool mct_depthwise_bring(const struct mct_depthwise_place *p,
                                                          struct mct_depthwise_step *s, uint32_t last) {
    const struct mct_depthwise_walk *k = p->walk;
    const uint32_t pixel = k->part * sizeof(mct_elem), line = k->line * sizeof(mct_elem);
    do {
        const struct mct_depthwise_span rows = mct_depthwise_whole(k) ? k->span : mct_depthwise_span(k, s);
        const uint32_t row = s->row * k->row_step + (uint32_t)k->top + rows.above;
        const mct_elem *from = k->x + (s->sample * k->height + row) * k->line;
        const uint32_t above = rows.above * k->part, end = above + rows.inside * k->part;
        const uint32_t below = (rows.tall - rows.above - rows.inside) * k->part / 2;
        do { /* the parts of the channels */
            mct_elem *here = mct_depthwise_x_of(p, s);
            for (uint32_t i = p->worker; i < k->wide; i += p->workers) {
                const uint32_t column = (uint32_t)k->left + i;
                if (column >= k->width)
                    continue; /* see mct_depthwise_sides */
                mct_elem *to = here + i * k->pitch;
                if (rows.inside)
                    mct_dma_in_rows(to + above, from + column * k->channels + s->channel, rows.inside, pixel,
                                    line);
                /* else the rows outside are those of the tile before in this place */
                if (s->turn < p->tiles || k->rows < k->out_height) {
                    mct_x_zero(to, above / 2);
                    mct_x_zero(to + end, below);
                }
            }
            if (k->y_in && p->worker == p->workers - 1)
                mct_dma_in_rows(
                    mct_depthwise_y_of(p, s),
                    k->y + s->channel + (s->sample * k->out_height + s->row) * k->out_width * k->channels,
                    mct_depthwise_rows(k, s) * k->out_width, pixel, k->channels * sizeof(mct_elem));
            s->turn++;
            s->channel += k->part;
        } while (s->channel < k->channels && s->turn <= last);
        if (s->channel >= k->channels) {
            s->channel = 0;
            s->row += k->rows;
        }
        if (s->row >= k->out_height) {
            s->row = 0;
            s->sample++;
        }
    } while (s->sample < k->batch && s->turn <= last);
    return s->sample < k->batch;
}

/* Sets to zero this worker's share of the columns outside x, in all places. */
static __attribute__((noinline)) void mct_depthwise_sides(const struct mct_depthwise_place *p) {
    const struct mct_depthwise_walk *k = p->walk;
    const uint32_t before = mct_min(k->left < 0 ? (uint32_t)-k->left : 0, k->wide);
    const int32_t inside = (int32_t)k->width - k->left;
    const uint32_t end = inside < (int32_t)before ? before : mct_min((uint32_t)inside, k->wide);
    uint32_t from, to, first, last;
    mct_split(before * k->pitch / 4, p->worker, p->workers, &from, &to);
    /* on to the end of the tile */
    mct_split((k->x_size - end * k->pitch) / 4, p->worker, p->workers, &first, &last);
    mct_elem *x = p->xs;
    for (uint32_t i = 0; i < p->tiles; i++, x += k->x_size) {
        mct_x_zero(x + 4 * from, 2 * (to - from));
        mct_x_zero(x + end * k->pitch + 4 * first, 2 * (last - first));
    }
}

/* Begins to move this worker's share of a tile of results. */
static __attribute__((noinline)) void mct_depthwise_move(const struct mct_depthwise_place *p,
                                                         const struct mct_depthwise_step *s) {
    const struct mct_depthwise_walk *k = p->walk;
    const uint32_t rows = mct_depthwise_rows(k, s), pitch = k->down ? k->pitch : rows * k->part;
    const uint32_t line = k->out_width * k->channels;
    mct_elem *here = mct_depthwise_y_of(p, s);
    mct_elem *memory = k->y + s->channel + (s->sample * k->out_height + s->row) * line;
    for (uint32_t i = p->worker; i < k->out_width; i += p->workers)
        mct_dma_out_rows(memory + i * k->channels, here + i * pitch, rows, k->part * sizeof(mct_elem),
                         line * sizeof(mct_elem));
}

/* Makes ready what the kernel has of its own. */
typedef void (*mct_depthwise_ready)(const struct mct_depthwise_place *p);

/* Computes pairs [first, last) of channels of a tile. */
typedef void (*mct_depthwise_compute)(const struct mct_depthwise_place *p, const struct mct_depthwise_step *s,
                                      uint32_t first, uint32_t last);

/* Lays out L1: what comes first, and x and y of two tiles, or of four if they fit; false: two do not. */
MCT_INLINE bool mct_depthwise_lay(struct mct_depthwise_place *p, const struct mct_depthwise_walk *k) {
    const uint32_t own = (k->own_bytes[0] + 15) & ~15u, more = (k->own_bytes[1] + 15) & ~15u;
    const uint32_t first = MCT_SHARED + own + more, size = mct_l1_size() & ~15u;
    const uint32_t twice = 2 * (uint32_t)sizeof(mct_elem) * (k->x_size + k->y_size);
    if (k->rows == 0 || first + twice > size)
        return false;
    p->walk = k;
    p->tiles = first + 2 * twice <= size ? 4 : 2;
    p->own[0] = mct_l1() + MCT_SHARED;
    p->own[1] = p->own[0] + own;
    p->xs = (mct_elem *)(void *)(p->own[1] + more);
    p->ys = p->xs + p->tiles * k->x_size;
    if (k->down && k->tap_row > 0)
        p->ys += MCT_DEPTHWISE_VAIN * k->part;
    return true;
}

/* All tiles; false: they do not fit. */
MCT_INLINE bool mct_depthwise_all(struct mct_depthwise_place *p, const struct mct_depthwise_walk *k,
                                  mct_depthwise_ready ready, mct_depthwise_compute compute) {
    if (!mct_depthwise_lay(p, k))
        return false;
    struct mct_depthwise_step before, s = {0}, ahead = {0};
    uint32_t first, last, group = mct_dma_begin();
    bool more = mct_depthwise_bring(p, &ahead, 0), is_left;
    if (p->worker == p->workers - 1)
        for (uint32_t i = 0; i < 2; i++)
            if (k->own_from[i])
                mct_l1_in(p->own[i], k->own_from[i], k->own_bytes[i]);
    mct_depthwise_sides(p);
    if (ready)
        ready(p);
    mct_split(k->part / 2, p->worker, p->workers, &first, &last);
    do {
        mct_dma_wait(group);
        mct_barrier(); /* this step's tile is here, the last one's y is complete and its x free */
        group = mct_dma_begin();
        if (s.turn && !k->y_in)
            mct_depthwise_move(p, &before);
        if (more)
            more = mct_depthwise_bring(p, &ahead, s.turn + p->tiles - 1);
        compute(p, &s, first, last);
        before = s;
        is_left = mct_depthwise_next(k, &s);
    } while (is_left);
    mct_dma_wait(group);
    mct_barrier();
    if (!k->y_in) {
        group = mct_dma_begin();
        mct_depthwise_move(p, &before);
        mct_dma_wait(group);
    }
    return true;
}

#endif
