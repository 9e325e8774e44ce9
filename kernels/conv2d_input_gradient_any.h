/* The kernel conv2d_input_gradient for any shape: all of kernels/conv2d_input_gradient.c, and what
 * kernels/tiled falls back on. */
#ifndef MCT_CONV2D_INPUT_GRADIENT_ANY_H
#define MCT_CONV2D_INPUT_GRADIENT_ANY_H

#include "conv2d_input_gradient.h"
#include "gemm_block.h"
#include "window.h"

/* With stride s, input pixels whose coordinates agree modulo s meet the same
 * kernel taps, and no others: (i + pad - k * dilation) must divide by s.  So a
 * block takes four pixels of one such phase, gathers the output gradients of
 * the taps they meet, and multiplies them with those taps' weights only.
 * Leaving a tap out keeps the pairs of the reduction only if a tap has an even
 * number of channels; if it is odd, every tap is taken, with zeros. */

struct phase {
    uint32_t row, column;       /* 0 .. stride - 1 */
    uint32_t height, width;     /* the phase's own pixels */
    const struct mct_run *runs; /* neighbouring taps that are all taken */
    uint32_t run_count;
    uint32_t depth; /* elements gathered per pixel */
};

static bool meets(uint32_t i, uint32_t k, uint32_t stride, uint32_t dilation, uint32_t pad) {
    return stride == 1 || (i + pad + k * dilation * (stride - 1)) % stride == 0;
}

static struct phase find_phase(const struct mct_conv2d_input_gradient *d, uint32_t index,
                               struct mct_run *runs) {
    struct phase p = {.row = index / d->stride_w, .column = index % d->stride_w, .runs = runs};
    p.height = p.row < d->height ? mct_ceil_div(d->height - p.row, d->stride_h) : 0;
    p.width = p.column < d->width ? mct_ceil_div(d->width - p.column, d->stride_w) : 0;
    uint32_t outputs = d->out_channels / d->groups, tap = 0;
    bool open = false;
    for (uint32_t kh = 0; kh < d->kernel_h; kh++)
        for (uint32_t kw = 0; kw < d->kernel_w; kw++, tap++) {
            bool taken = outputs % 2 || (meets(p.row, kh, d->stride_h, d->dilation_h, d->pad_top) &&
                                         meets(p.column, kw, d->stride_w, d->dilation_w, d->pad_left));
            if (taken && !open)
                runs[p.run_count++] = (struct mct_run){tap * outputs, 0};
            if (taken) {
                runs[p.run_count - 1].count += outputs;
                p.depth += outputs;
            }
            open = taken;
        }
    return p;
}

/* Copies the output gradients that input pixel (row, column) meets at the phase's taps, zeros off the grid.
 */
static void gather_outputs(mct_elem *to, const struct mct_conv2d_input_gradient *d, const struct phase *p,
                           uint32_t sample, uint32_t row, uint32_t column, uint32_t group, bool fast) {
    uint32_t outputs = d->out_channels / d->groups;
    const mct_elem *dy = (const mct_elem *)d->dy + sample * d->out_height * d->out_width * d->out_channels;
    for (uint32_t run = 0; run < p->run_count; run++) {
        uint32_t tap = p->runs[run].first / outputs, end = tap + p->runs[run].count / outputs;
        uint32_t kh = tap / d->kernel_w, kw = tap % d->kernel_w;
        for (; tap < end; tap++, to += outputs) {
            int32_t h = mct_window_output(row, kh, d->stride_h, d->dilation_h, d->pad_top, d->out_height);
            int32_t w = mct_window_output(column, kw, d->stride_w, d->dilation_w, d->pad_left, d->out_width);
            if (h == MCT_OUTSIDE || w == MCT_OUTSIDE)
                memset(to, 0, outputs * sizeof(mct_elem));
            else
                mct_gather(
                    to, dy + ((uint32_t)h * d->out_width + (uint32_t)w) * d->out_channels + group * outputs,
                    outputs * sizeof(mct_elem), fast);
            if (++kw == d->kernel_w) {
                kw = 0;
                kh++;
            }
        }
    }
}

static inline void mct_conv2d_input_gradient_any(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_conv2d_input_gradient *d = args;
    uint32_t channels = d->channels / d->groups, outputs = d->out_channels / d->groups;
    uint32_t taps = d->kernel_h * d->kernel_w, stride = taps * outputs;
    struct mct_fast fast = mct_fast_begin(worker, workers);
    bool in_fast;
    mct_elem *gathered = mct_workspace(&fast, &in_fast, d->workspace, d->workspace_stride, worker);
    const struct mct_finish finish = {0};
    struct mct_run *runs =
        (struct mct_run *)((uint8_t *)gathered + (4 * stride * sizeof(mct_elem) + 15) / 16 * 16);
    uint32_t blocks = mct_ceil_div(
        d->batch * mct_ceil_div(d->height, d->stride_h) * mct_ceil_div(d->width, d->stride_w), 4);
    uint32_t item, last, known = UINT32_MAX;
    struct phase p = {0};
    mct_split(d->stride_h * d->stride_w * blocks, worker, workers, &item, &last);
    for (; item < last; item++) {
        if (item / blocks != known) {
            known = item / blocks;
            p = find_phase(d, known, runs);
        }
        uint32_t pixels = d->batch * p.height * p.width, first = item % blocks * 4;
        if (first >= pixels)
            continue;
        uint32_t rows = mct_min(4, pixels - first);
        for (uint32_t group = 0; group < d->groups; group++) {
            mct_elem *dx[4];
            struct mct_pixel at = mct_pixel_at(first, p.height, p.width);
            uint32_t ticket = mct_dma_begin();
            for (uint32_t r = 0; r < rows; r++) {
                uint32_t row = at.row * d->stride_h + p.row, column = at.column * d->stride_w + p.column;
                gather_outputs(gathered + r * p.depth, d, &p, at.sample, row, column, group, in_fast);
                dx[r] = (mct_elem *)d->dx +
                        ((at.sample * d->height + row) * d->width + column) * d->channels + group * channels;
                mct_pixel_next(&at, p.height, p.width);
            }
            mct_dma_wait(ticket);
            const struct mct_right right = {(const mct_elem *)d->wt + group * channels * stride, stride,
                                            p.runs, p.run_count};
            mct_rows_nt(dx, gathered, p.depth, rows, &right, 0, channels, &finish, &fast);
        }
    }
}

#endif
