/* The weight gradient of a convolution on a board with fast memory.
 *
 * An item is `wide` neighbouring channels of one kernel offset times COLUMNS output channels.  It goes over
 * the pixels in chunks: while one chunk is multiplied, x and dy of the next are copied to fast memory.
 */
#ifndef MCT_CONV2D_WEIGHT_GRADIENT_FAST_H
#define MCT_CONV2D_WEIGHT_GRADIENT_FAST_H

#include "conv2d_weight_gradient.h"
#include "fast_memory.h"
#include "gemm_tn_block.h"
#include "window.h"

enum { MCT_FAST_COLUMNS = 16, MCT_FAST_WIDEST = 16 };

/* Bytes that a worker needs: two items' gradients, two chunks of two pixels. */
enum {
    MCT_FAST_LEAST = 2 * MCT_FAST_COLUMNS * MCT_FAST_WIDEST * 4 +
    4 * (MCT_FAST_COLUMNS + MCT_FAST_WIDEST) * sizeof(mct_elem) + 32
};

struct mct_weight_items {
    const struct mct_conv2d_weight_gradient *d;
    uint32_t channels, outputs; /* of a group */
    uint32_t wide, wide_blocks, column_blocks;
    uint32_t depth, pixels, chunk;
};

/* One item and where it is: the offset and first channel of x, the first output channel, the pixels. */
struct mct_weight_job {
    uint32_t item, first, count;
    uint32_t kh, kw, channel, group, column, columns;
};

MCT_INLINE struct mct_weight_job mct_weight_job(const struct mct_weight_items *w, uint32_t item,
                                                uint32_t first) {
    uint32_t rest = item / w->column_blocks, column = item % w->column_blocks * MCT_FAST_COLUMNS;
    uint32_t offset = rest / w->wide_blocks, offsets = w->d->kernel_h * w->d->kernel_w;
    struct mct_weight_job job = {
        .item = item,
        .first = first,
        .count = mct_min(w->chunk, w->pixels - first),
        .kh = offset % offsets / w->d->kernel_w,
        .kw = offset % w->d->kernel_w,
        .channel = rest % w->wide_blocks * w->wide,
        .group = offset / offsets,
        .column = column,
        .columns = mct_min(MCT_FAST_COLUMNS, w->outputs - column),
    };
    return job;
}

/* The gradients of an item in memory: `columns` rows of `wide`, `depth` apart. */
MCT_INLINE float *mct_weight_place(const struct mct_weight_items *w, const struct mct_weight_job *job) {
    return w->d->acc + (job->group * w->outputs + job->column) * w->depth +
           (job->kh * w->d->kernel_w + job->kw) * w->channels + job->channel;
}

/* Begins to copy x [count][wide] that a chunk meets, and writes the zeros where it leaves the input. */
MCT_INLINE void mct_weight_fetch_x(mct_elem *x, const struct mct_weight_items *w,
                                   const struct mct_weight_job *job) {
    const struct mct_conv2d_weight_gradient *d = w->d;
    uint32_t bytes = w->wide * sizeof(mct_elem);
    struct mct_pixel p = mct_pixel_at(job->first, d->out_height, d->out_width);
    for (uint32_t left = job->count, run; left > 0; left -= run) {
        run = mct_min(left, d->out_width - p.column);
        int32_t row = mct_window_input(p.row, job->kh, d->stride_h, d->dilation_h, d->pad_top, d->height);
        uint32_t before = run, copied = 0; /* pixels of zeros before those that are copied */
        int32_t at = (int32_t)(p.column * d->stride_w + job->kw * d->dilation_w) - (int32_t)d->pad_left;
        if (row != MCT_OUTSIDE) {
            for (before = 0; before < run && at < 0; before++)
                at += (int32_t)d->stride_w;
            if (before < run && (uint32_t)at < d->width)
                copied = mct_min(run - before, (d->width - 1 - (uint32_t)at) / d->stride_w + 1);
        }
        if (copied) {
            uint32_t pixel = (p.sample * d->height + (uint32_t)row) * d->width + (uint32_t)at;
            const mct_elem *from = (const mct_elem *)d->x + pixel * d->channels;
            mct_dma_in_rows(x + before * w->wide, from + job->group * w->channels + job->channel, copied,
                            bytes, d->stride_w * d->channels * sizeof(mct_elem));
        }
        memset(x, 0, before * bytes);
        memset(x + (before + copied) * w->wide, 0, (run - before - copied) * bytes);
        x += run * w->wide;
        p.column += run - 1;
        mct_pixel_next(&p, d->out_height, d->out_width);
    }
}

/* Begins to copy a chunk: dy [count][columns] and x, and with the first one of an item its gradients. */
MCT_INLINE void mct_weight_fetch(mct_elem *dy, float *acc, const struct mct_weight_items *w,
                                 const struct mct_weight_job *job) {
    const struct mct_conv2d_weight_gradient *d = w->d;
    uint32_t column = job->group * w->outputs + job->column;
    mct_dma_in_rows(dy, (const mct_elem *)d->dy + job->first * d->out_channels + column, job->count,
                    job->columns * sizeof(mct_elem), d->out_channels * sizeof(mct_elem));
    mct_weight_fetch_x(dy + w->chunk * MCT_FAST_COLUMNS, w, job);
    if (job->first == 0 && !d->squares)
        mct_dma_in_rows(acc, mct_weight_place(w, job), job->columns, w->wide * sizeof(float),
                        w->depth * sizeof(float));
}

MCT_INLINE void mct_weight_store(const float *acc, const struct mct_weight_items *w,
                                 const struct mct_weight_job *job) {
    mct_dma_out_rows(mct_weight_place(w, job), acc, job->columns, w->wide * sizeof(float),
                     w->depth * sizeof(float));
}

MCT_INLINE bool mct_weight_gradient_is_fast(const struct mct_conv2d_weight_gradient *d, uint32_t workers) {
    return MCT_HAS_FAST && MCT_ELEM == 16 && d->channels / d->groups % 4 == 0 &&
           d->batch * d->out_height * d->out_width >= 4 && mct_fast_begin(0, workers).bytes >= MCT_FAST_LEAST;
}

/* acc += the squares of an item's sums; acc comes to `place`, which has room for an item. */
static __attribute__((noinline, unused)) void mct_weight_square(const float *sums, float *place,
                                                                const struct mct_weight_items *w,
                                                                const struct mct_weight_job *job) {
    uint32_t transfers = mct_dma_begin();
    mct_dma_in_rows(place, mct_weight_place(w, job), job->columns, w->wide * sizeof(float),
                    w->depth * sizeof(float));
    mct_dma_wait(transfers);
    mct_squares(place, 0, sums, 0, 1, job->columns * w->wide);
    transfers = mct_dma_begin();
    mct_weight_store(place, w, job);
    mct_dma_wait(transfers);
}

/* An item has at least two chunks: its gradients are stored while the next one's first chunk is in use, and
 * the ones after that are fetched to the same place not before its second. Squares are added and stored at
 * once, by way of the place of the next item, whose sums begin with zeros. */
MCT_INLINE void mct_weight_gradient_fast(const struct mct_conv2d_weight_gradient *d, uint32_t worker,
                                         uint32_t workers) {
    struct mct_weight_items w = {.d = d,
                                 .channels = d->channels / d->groups,
                                 .outputs = d->out_channels / d->groups,
                                 .pixels = d->batch * d->out_height * d->out_width};
    uint32_t offsets = d->groups * d->kernel_h * d->kernel_w, items, item, last;
    w.depth = d->kernel_h * d->kernel_w * w.channels;
    w.column_blocks = mct_ceil_div(w.outputs, MCT_FAST_COLUMNS);
    /* wide items copy less, but there must be enough to keep every worker busy */
    for (w.wide = MCT_FAST_WIDEST;; w.wide /= 2) {
        w.wide_blocks = w.channels / w.wide;
        items = offsets * w.wide_blocks * w.column_blocks;
        if (w.wide == 4 || (w.channels % w.wide == 0 && items >= 4 * workers))
            break;
    }
    mct_split(items, worker, workers, &item, &last);
    if (item == last)
        return;
    struct mct_fast fast = mct_fast_begin(worker, workers);
    uint32_t acc_bytes = w.wide * MCT_FAST_COLUMNS * sizeof(float);
    float *acc[2] = {mct_fast_take(&fast, acc_bytes), mct_fast_take(&fast, acc_bytes)};
    uint32_t half_bytes = fast.bytes / 2 / 16 * 16;
    mct_elem *half[2] = {mct_fast_take(&fast, half_bytes), mct_fast_take(&fast, half_bytes)};
    /* chunks of about one size, of whole pairs of pixels */
    uint32_t most = half_bytes / ((MCT_FAST_COLUMNS + w.wide) * sizeof(mct_elem)) / 2;
    w.chunk = 2 * mct_ceil_div(w.pixels / 2, mct_ceil_div(w.pixels / 2, mct_min(most, w.pixels / 4)));

    struct mct_weight_job job = mct_weight_job(&w, item, 0), next, before = job;
    bool unstored = false, end = false;
    uint32_t transfers = mct_dma_begin();
    mct_weight_fetch(half[0], acc[item % 2], &w, &job);
    for (uint32_t which = 0; !end; job = next, which ^= 1) {
        bool more = job.first + job.count < w.pixels;
        end = !more && job.item + 1 == last;
        mct_dma_wait(transfers);
        if (d->squares && unstored)
            mct_weight_square(acc[before.item % 2], acc[job.item % 2], &w, &before);
        if (d->squares && job.first == 0)
            memset(acc[job.item % 2], 0, acc_bytes);
        transfers = mct_dma_begin();
        if (unstored && !d->squares)
            mct_weight_store(acc[before.item % 2], &w, &before);
        if (!end) {
            next = more ? mct_weight_job(&w, job.item, job.first + job.count)
                        : mct_weight_job(&w, job.item + 1, 0);
            mct_weight_fetch(half[which ^ 1], acc[next.item % 2], &w, &next);
        }
        mct_rows_tn(acc[job.item % 2], w.wide, job.columns, w.wide, half[which], job.columns,
                    half[which] + w.chunk * MCT_FAST_COLUMNS, w.wide, job.count);
        unstored = !more;
        before = job;
    }
    mct_dma_wait(transfers);
    if (d->squares) {
        mct_weight_square(acc[before.item % 2], acc[before.item % 2 ^ 1], &w, &before);
        return;
    }
    transfers = mct_dma_begin();
    mct_weight_store(acc[before.item % 2], &w, &before);
    mct_dma_wait(transfers);
}

#endif
