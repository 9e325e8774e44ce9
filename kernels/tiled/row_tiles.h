/* The rows of a matrix on their way through L1 in tiles that all workers share: while they use one, DMA
 * brings the next. */
#ifndef MCT_TILED_ROW_TILES_H
#define MCT_TILED_ROW_TILES_H

#include "tiled/l1.h"

/* While a tile is used others are on their way, two if there is room, so that DMA does not rest. */
enum { MCT_ROW_TILES = 3 };

struct mct_row_tiles {
    const uint8_t *memory;
    uint32_t rows, row;    /* of the matrix, and bytes of one; both > 0 */
    uint32_t most;         /* rows of a tile */
    uint32_t last;         /* and of those at the end, when nothing comes any more */
    uint32_t parts, width; /* of a row: where it is long a tile holds halves; bytes of a part */
    uint8_t *at;           /* the first tile's place */
    uint32_t size, places; /* bytes of a place, number of places */
    /* of worker 0, which brings them */
    uint32_t groups[MCT_ROW_TILES];
};

/* Part `part` of rows [row, row + rows). */
struct mct_row_tile {
    uint32_t row, rows, part;
    uint32_t place;
};

/* Chooses tiles of `most` rows, or fewer, down to `least`. False: there is no room for two. */
static bool mct_row_tiles_plan(struct mct_row_tiles *k, struct mct_l1 room, uint32_t least) {
    k->at = room.at;
    k->parts = 1;
    k->width = k->row;
    while (k->most > least && MCT_ROW_TILES * k->most * k->row > room.left)
        k->most /= 2;
    if (MCT_ROW_TILES * k->most * k->row > room.left && k->row % 8 == 0) {
        k->parts = 2;
        k->width /= 2;
    }
    k->last = mct_min(k->last, k->most);
    k->size = k->most * k->width;
    for (k->places = MCT_ROW_TILES; k->places * k->size > room.left; k->places--)
        ;
    return k->places >= 2;
}

static struct mct_row_tile mct_row_tiles_first(const struct mct_row_tiles *k) {
    return (struct mct_row_tile){.rows = k->rows > k->most ? k->most : mct_min(k->rows, k->last)};
}

/* Goes on to the next tile; false when there is none. */
static bool mct_row_tiles_on(const struct mct_row_tiles *k, struct mct_row_tile *t) {
    t->place = t->place == k->places - 1 ? 0 : t->place + 1;
    if (++t->part < k->parts)
        return true;
    t->part = 0;
    t->row += t->rows;
    const uint32_t left = k->rows - t->row;
    t->rows = left > k->most ? k->most : mct_min(left, k->last);
    return left;
}

static float *mct_row_tiles_place(const struct mct_row_tiles *k, const struct mct_row_tile *t) {
    return (float *)(void *)(k->at + t->place * k->size);
}

/* Begins to bring a tile. */
static void mct_row_tiles_bring(struct mct_row_tiles *k, const struct mct_row_tile *t) {
    const uint8_t *from = k->memory + t->row * k->row + t->part * k->width;
    if (k->parts == 1)
        mct_dma_in(mct_row_tiles_place(k, t), from, t->rows * k->width);
    else
        mct_dma_in_rows(mct_row_tiles_place(k, t), from, t->rows, k->width, k->row);
}

/* All workers, with the tile that they have come to: waits for it, and begins to bring `next` if there is
 * `more`. */
static void mct_row_tiles_turn(struct mct_row_tiles *k, const struct mct_row_tile *now,
                               struct mct_row_tile *next, bool *more, uint32_t worker) {
    if (worker == 0)
        mct_dma_wait(k->groups[now->place]);
    mct_barrier();
    if (worker == 0 && *more) {
        k->groups[next->place] = mct_dma_begin();
        mct_row_tiles_bring(k, next);
        *more = mct_row_tiles_on(k, next);
    }
}

#endif
