/* One pixel of a depthwise convolution or of its input gradient.
 *
 * The taps of the kernel, flattened by (row, column), are paired (0,1), (2,3)
 * ...; a tap that is off the grid reads zeros.  The workspace of a worker holds
 * mct_tap_pair for every two taps, rounded up, and then one row of zeros:
 * 32 * ceil(taps / 2) bytes and `channels` elements.
 */
#ifndef MCT_DEPTHWISE_BLOCK_H
#define MCT_DEPTHWISE_BLOCK_H

#include "gemm_block.h"

struct mct_tap_pair {
    const mct_elem *x[2]; /* [channels] */
    const mct_elem *w[2]; /* [channels] */
};

enum { MCT_TAP_PAIR_BYTES = 32 };
_Static_assert(sizeof(struct mct_tap_pair) <= MCT_TAP_PAIR_BYTES,
               "the planner counts 32 bytes for a pair of taps");

struct mct_depthwise_taps {
    struct mct_tap_pair *pairs;
    const mct_elem *zeros; /* [channels] */
};

MCT_INLINE struct mct_depthwise_taps mct_depthwise_prepare(void *workspace, uint32_t taps,
                                                           uint32_t channels) {
    mct_elem *zeros = (mct_elem *)((uint8_t *)workspace + (taps + 1) / 2 * MCT_TAP_PAIR_BYTES);
    memset(zeros, 0, channels * sizeof(mct_elem));
    return (struct mct_depthwise_taps){workspace, zeros};
}

/* Puts tap number `tap` where the pixel loop expects it; the taps come in order. */
MCT_INLINE void mct_depthwise_set(const struct mct_depthwise_taps *t, uint32_t tap, const mct_elem *x,
                                  const mct_elem *w) {
    struct mct_tap_pair *pair = &t->pairs[tap / 2];
    pair->x[tap % 2] = x;
    pair->w[tap % 2] = w;
    if (tap % 2 == 0) { /* until its partner comes, if there is one */
        pair->x[1] = t->zeros;
        pair->w[1] = t->zeros;
    }
}

MCT_INLINE void mct_depthwise_pixel(mct_elem *y, const struct mct_depthwise_taps *t, uint32_t taps,
                                    uint32_t channels, const struct mct_finish *finish) {
    uint32_t pairs = (taps + 1) / 2, c = 0;
    for (; c + 4 <= channels; c += 4) {
        float acc[4] = {0};
        for (uint32_t i = 0; i < pairs; i++) {
            const struct mct_tap_pair *p = &t->pairs[i];
            mct_pair x[4], w[4];
            mct_join4(x, p->x[0] + c, p->x[1] + c);
            mct_join4(w, p->w[0] + c, p->w[1] + c);
            for (uint32_t j = 0; j < 4; j++)
                acc[j] = mct_dot(acc[j], x[j], w[j]);
        }
        for (uint32_t j = 0; j < 4; j++)
            y[c + j] = mct_finished(acc[j], finish, c + j);
    }
    for (; c < channels; c++) {
        float acc = 0;
        for (uint32_t i = 0; i < pairs; i++) {
            const struct mct_tap_pair *p = &t->pairs[i];
            acc = mct_dot(acc, mct_join(p->x[0] + c, p->x[1] + c), mct_join(p->w[0] + c, p->w[1] + c));
        }
        y[c] = mct_finished(acc, finish, c);
    }
}

#endif
