/* Elements that stream through L1: each worker has a part of it to itself, where they come piece by piece and
 * are worked on in place, while DMA brings the next piece and takes the one before away. */
#ifndef MCT_TILED_STREAM_H
#define MCT_TILED_STREAM_H

#include "../elements.h"
#include "l1.h"

enum { MCT_STREAMS = 3 /* at most */, MCT_STREAM_WORKERS = 8, MCT_STREAM_PIECES = 3 };

/* An operand: place of element 0 in memory and bytes of an element, as it comes and as it goes; 0 bytes where
 * it does not. */
struct mct_stream {
    const void *from;
    void *to;
    uint32_t size, new_size;
};

/* `count` elements of every operand are at `at`, 16-byte aligned; their results take their place. What is
 * behind them, to a multiple of 16 elements, may be read and written, too. */
typedef void (*mct_stream_step)(const void *context, void *const *at, uint32_t count);

/* Elements [first, last) of so many operands, a multiple of eight but for the end. */
static MCT_SMALL __attribute__((noinline)) void mct_stream_run(const struct mct_stream *streams,
                                                               uint32_t number, uint32_t first, uint32_t last,
                                                               uint32_t worker, mct_stream_step compute,
                                                               const void *context) {
    const struct mct_l1 all = mct_l1_all();
    const uint32_t room = all.left / MCT_STREAM_WORKERS & ~15u;
    uint32_t places[MCT_STREAMS], bytes = 0;
    for (uint32_t i = 0; i < number; i++) {
        places[i] = bytes;
        bytes += streams[i].size > streams[i].new_size ? streams[i].size : streams[i].new_size;
    }
    /* a dozen of pieces, so that little is waited for at the beginning and the end, but no short ones */
    const uint32_t twelfth = ((last - first) / 12 + 15) & ~15u;
    const uint32_t piece = mct_min(twelfth < 128 ? 128 : twelfth, room / MCT_STREAM_PIECES / bytes & ~15u);
    uint8_t *next = all.at + worker * room, *now = next + piece * bytes, *before = now + piece * bytes;
    uint32_t group = 0;
    for (uint32_t at = first - piece, k = 0;; at += piece, k++) {
        if (k > 0)
            mct_dma_wait(group);
        group = mct_dma_begin();
        for (uint32_t i = 0; i < number; i++) {
            const struct mct_stream *s = streams + i;
            const uint32_t place = places[i] * piece, to = at + piece, back = at - piece;
            if (s->size && to < last)
                mct_dma_in(next + place, (const uint8_t *)s->from + to * s->size,
                           mct_min(piece, last - to) * s->size);
            if (s->new_size && k > 1)
                mct_dma_out((uint8_t *)s->to + back * s->new_size, before + place,
                            mct_min(piece, last - back) * s->new_size);
        }
        if (k > 0) {
            if (at >= last)
                break;
            void *here[MCT_STREAMS];
            for (uint32_t i = 0; i < number; i++)
                here[i] = now + places[i] * piece;
            compute(context, here, mct_min(piece, last - at));
        }
        uint8_t *const done = before;
        before = now, now = next, next = done;
    }
    mct_dma_wait(group);
}

/* Below so many elements the way through L1 is not worth while. */
enum { MCT_STREAM_WORTH = 256 };

#endif
