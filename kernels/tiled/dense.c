/* Matrix product, NT form, through L1: a variant for binary16 and an even reduction. Other shapes take the
 * way of all targets. */
#if defined(MCT_XPULP) && MCT_ELEM == 16
#include "fallback.h"
MCT_ANY_SHAPE(dense)
#include "../dense.c"
#include "tiled/few_rows.h"

enum { WORKERS = MCT_MANY_WORKERS, ROWS = MCT_NT_ROWS, CHUNK_DEPTH = 128 };

/* Bytes of the two chunks that a worker has in L1 when rows are few. */
enum { OWN = 2 * 4 * CHUNK_DEPTH * sizeof(mct_elem) };

static __attribute__((noinline)) void many_rows(const struct mct_product *p, uint32_t column,
                                                uint32_t columns, uint32_t worker, uint32_t workers) {
    mct_many_rows(p, false, column, columns, worker, workers);
}

/* A piece of w: up to CHUNK_DEPTH elements of four rows; of a worker's last rows half as many, as nothing
 * comes while they are computed. */
struct chunk {
    uint32_t column, k;
};

static uint32_t chunk_depth(const struct mct_product *p, struct chunk c, uint32_t end) {
    return mct_min(c.column + 4 < end ? CHUNK_DEPTH : CHUNK_DEPTH / 2, p->depth - c.k);
}

/* Begins to bring it, and goes on to the next; true if there is one before row `end`. */
static bool bring_chunk(const struct mct_product *p, mct_elem *to, struct chunk *c, uint32_t end) {
    const uint32_t depth = p->depth, here = chunk_depth(p, *c, end);
    mct_dma_in_rows(to, p->w + c->column * depth + c->k, mct_min(4, p->columns - c->column),
                    here * sizeof(mct_elem), depth * sizeof(mct_elem));
    c->k += here;
    if (c->k == depth) {
        c->k = 0;
        c->column += 4;
    }
    return c->column < end;
}

static __attribute__((noinline)) void few_rows(const struct mct_product *p, uint32_t worker,
                                               uint32_t workers) {
    struct mct_few few = mct_few_begin(p, OWN, worker);
    few.w[0] = (mct_elem *)(void *)few.own;
    few.w[1] = few.w[0] + 4 * CHUNK_DEPTH;
    uint32_t first, last;
    mct_split((p->columns + 3) / 4, worker, workers, &first, &last);
    struct chunk next = {4 * first, 0};
    bool more = first < last && bring_chunk(p, few.w[0], &next, 4 * last);
    mct_barrier(); /* x is here */
    float sum[ROWS * 4];
    for (struct chunk c = {4 * first, 0}, after; c.column < 4 * last; c = after) {
        mct_few_turn(&few);
        after = next;
        if (more)
            more = bring_chunk(p, few.w[0], &next, 4 * last);
        const uint32_t depth = chunk_depth(p, c, 4 * last);
        for (uint32_t r = 0; r < p->rows; r++) {
            if (c.k == 0)
                for (uint32_t i = 0; i < 4; i++)
                    sum[4 * r + i] = 0;
            /* of columns that are not there nothing is kept */
            mct_nt_1x4(sum + 4 * r, few.x + r * p->depth + c.k, few.w[1], depth, depth);
            mct_elem *y = p->y + r * p->columns + c.column;
            if (c.k + depth < p->depth)
                continue;
            if (c.column + 4 <= p->columns)
                mct_nt_finish4(y, sum + 4 * r, &p->finish, c.column);
            else
                for (uint32_t i = 0; c.column + i < p->columns; i++)
                    y[i] = mct_finished(sum[4 * r + i], &p->finish, c.column + i);
        }
    }
    mct_dma_wait(few.group);
}

void MCT_TILED(dense)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_dense *d = args;
    uint32_t tile = d->columns;
    bool fits = d->depth % 2 == 0 && d->depth <= 2048;
    if (d->rows >= ROWS) {
        tile = mct_many_columns(d->columns, d->depth, d->tile_columns);
        fits = fits && tile;
    } else
        fits = fits &&
               mct_turn_bytes(d->rows * d->depth * sizeof(mct_elem)) + WORKERS * OWN <= mct_l1_all().left;
    if (!fits) {
        mct_any_shape_dense(args, worker, workers);
        return;
    }
    for (uint32_t batch = 0; batch < d->batch; batch++) {
        const struct mct_product p = {.x = (const mct_elem *)d->x + batch * d->rows * d->depth,
                                      .w = (const mct_elem *)d->w + batch * d->columns * d->depth,
                                      .y = (mct_elem *)d->y + batch * d->rows * d->columns,
                                      .rows = d->rows,
                                      .columns = d->columns,
                                      .depth = d->depth,
                                      .finish = {d->bias, d->activation, d->lo, d->hi}};
        if (d->rows < ROWS) {
            if (batch)
                mct_barrier();
            few_rows(&p, worker, workers);
        } else
            for (uint32_t column = 0; column < d->columns; column += tile) {
                if (batch || column)
                    mct_barrier();
                many_rows(&p, column, mct_min(tile, d->columns - column), worker, workers);
            }
    }
}
#else
#include "../dense.c"
#endif
