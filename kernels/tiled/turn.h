/* Tiles of a convolution's weight gradient, brought to L1 and turned to lines, see turn_plan.h. */
#ifndef MCT_TILED_TURN_H
#define MCT_TILED_TURN_H

#include "turn_plan.h"

struct step {
    uint32_t sample, tile;
};

/* The rows of x, of the tile that begins with row `top` of it (which may be above x), that exist. */
static void clip(const struct turn *k, const struct step *s, int32_t *top, uint32_t *first, uint32_t *last) {
    *top = (int32_t)(s->tile * k->tile_rows * k->d->stride_h) - (int32_t)k->d->pad_top;
    *first = *top < 0 ? 0 : mct_min((uint32_t)*top, k->d->height);
    *last =
        mct_min((uint32_t)(*top + (int32_t)k->in_rows < 0 ? 0 : *top + (int32_t)k->in_rows), k->d->height);
}

static uint32_t rows_of(const struct turn *k, const struct step *s) {
    return mct_min(k->tile_rows, k->d->out_height - s->tile * k->tile_rows);
}

static void load(const struct turn *k, const struct step *s) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t pitch = d->width * d->channels, out_pitch = d->out_width * d->out_channels, first, last;
    int32_t top;
    clip(k, s, &top, &first, &last);
    const mct_elem *x = (const mct_elem *)d->x + s->sample * k->x_sample + first * k->x_line_in;
    last = first < last ? last : first;
    if (k->x_line_in == pitch)
        mct_l1_in(k->x_raw, x, (last - first) * pitch * sizeof(mct_elem));
    else
        for (uint32_t row = first; row < last; row++, x += k->x_line_in)
            mct_dma_in_rows(k->x_raw + (row - first) * pitch, x, d->width, d->channels * sizeof(mct_elem),
                            k->x_pixel * sizeof(mct_elem));
    mct_l1_in(k->dy_raw,
              (const mct_elem *)d->dy + (s->sample * d->out_height + s->tile * k->tile_rows) * out_pitch,
              rows_of(k, s) * out_pitch * sizeof(mct_elem));
}

/* One row of x, turned: `count` columns of the line `to`. `from` is what its column `begin` gets, `step` the
 * distance from one of its columns to the next; columns outside [begin, end) are zeros. */
static __attribute__((noinline)) void turn_row(mct_elem *to, const mct_elem *from, uint32_t step,
                                               uint32_t begin, uint32_t end, uint32_t count) {
    uint32_t i = 0;
    for (; i < begin; i++)
        to[i] = 0;
    for (; i < end; i++, from += step)
        to[i] = from[0];
    for (; i < count; i++)
        to[i] = 0;
}

/* The same for `pairs` pairs of lines, `next` elements apart, and neighbouring elements from `from` on. */
static __attribute__((noinline)) void turn_pairs(mct_elem *to, uint32_t next, const mct_elem *from,
                                                 uint32_t step, uint32_t begin, uint32_t end, uint32_t count,
                                                 uint32_t pairs) {
    const uint32_t fours = (end - begin) / 4, whole = begin + 4 * fours;
    for (; pairs; pairs--, to += 2 * next, from += 2) {
        uint32_t i = 0;
        for (; i < begin; i++)
            to[i] = to[next + i] = 0;
        if (fours)
            mct_turn_columns(to + begin, next, from, step, fours);
        const mct_elem *at = from + 4 * fours * step;
        for (i = whole; i < end; i++, at += step) {
            to[i] = at[0];
            to[next + i] = at[1];
        }
        for (; i < count; i++)
            to[i] = to[next + i] = 0;
    }
}

/* A share of the lines of x that are elements of the window. */
MCT_INLINE void turn_windows(const struct turn *k, const struct step *s, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    uint32_t first, last, item, end, pitch = d->width * d->channels, rows = k->line_rows;
    int32_t top;
    clip(k, s, &top, &first, &last);
    mct_split(k->set_lines * rows, worker, workers, &item, &end);
    uint32_t line = item / rows, row = item % rows, channel = line % d->channels, tap = line / d->channels;
    for (; item < end; item++) {
        const uint32_t kh = tap / d->kernel_w;
        const struct start *start = k->starts + (tap - kh * d->kernel_w);
        const int32_t at = top + (int32_t)(row * d->stride_h + kh * d->dilation_h);
        const bool inside = at >= (int32_t)first && at < (int32_t)last && line < k->depth;
        const uint32_t begin = inside ? start->begin : 0, stop = inside ? start->end : 0;
        const int32_t column = start->column + (int32_t)(begin * d->stride_w);
        const mct_elem *from = k->x_raw;
        if (begin < stop)
            from += ((uint32_t)at - first) * pitch + (uint32_t)column * d->channels + channel;
        turn_row(k->x_lines + line * k->x_line + row * k->wide, from, d->stride_w * d->channels, begin, stop,
                 k->wide);
        if (++row == rows) {
            row = 0;
            line++;
            if (++channel == d->channels) {
                channel = 0;
                tap++;
            }
        }
    }
}

/* A share of the lines of x that are channels: an item is a row of a few of a set's. */
MCT_INLINE void turn_channels(const struct turn *k, const struct step *s, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    const uint32_t pitch = d->width * d->channels, rows = k->line_rows, few = d->channels % 8 ? 4 : 8;
    const uint32_t parts = d->channels / few;
    uint32_t first, last, item, end;
    int32_t top;
    clip(k, s, &top, &first, &last);
    mct_split(k->sets * parts * rows, worker, workers, &item, &end);
    uint32_t row = item % rows, part = item / rows % parts, set = item / rows / parts;
    for (; item < end; item++) {
        const struct start *start = k->starts + set;
        const int32_t at = top + (int32_t)row;
        const bool inside = at >= (int32_t)first && at < (int32_t)last;
        const uint32_t begin = inside ? start->begin : 0, stop = inside ? start->end : 0;
        /* the first of the columns that are inside */
        const int32_t column = start->column + (int32_t)(begin * d->stride_w);
        const mct_elem *from = k->x_raw;
        if (begin < stop)
            from += ((uint32_t)at - first) * pitch + (uint32_t)column * d->channels + part * few;
        turn_pairs(k->x_lines + (set * k->set_lines + part * few) * k->x_line + row * k->wide, k->x_line,
                   from, d->stride_w * d->channels, begin, stop, k->wide, few / 2);
        if (++row == rows) {
            row = 0;
            if (++part == parts) {
                part = 0;
                set++;
            }
        }
    }
}

MCT_INLINE void turn_dy(const struct turn *k, const struct step *s, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_weight_gradient *d = k->d;
    const uint32_t pixels = rows_of(k, s) * d->out_width;
    uint32_t pair, end;
    mct_split(d->out_channels / 2, worker, workers, &pair, &end);
    turn_pairs(k->dy_lines + 2 * pair * k->dy_line, k->dy_line, k->dy_raw + 2 * pair, d->out_channels, 0,
               pixels, pixels, end - pair);
    if (worker == workers - 1 && d->out_channels % 2)
        turn_row(k->dy_lines + (d->out_channels - 1) * k->dy_line, k->dy_raw + d->out_channels - 1,
                 d->out_channels, 0, pixels, pixels);
}

#endif
