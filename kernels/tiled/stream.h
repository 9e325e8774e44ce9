/* Elements that stream through L1: each worker has a part of it to itself, in which two sets of buffers take
 * turns, so that DMA brings the next elements and takes the last results away during computation. */
#ifndef MCT_TILED_STREAM_H
#define MCT_TILED_STREAM_H

#include "../elements.h"
#include "l1.h"

enum { MCT_STREAMS = 3, MCT_STREAM_WORKERS = 8 };

/* What a worker reads and writes: place of element 0 in memory, bytes of an element (0: no such stream). */
struct mct_stream {
    void *memory;
    uint32_t size;
};

/* `count` elements of every stream are in `in`, and their results go to `out`. */
typedef void (*mct_stream_step)(const void *context, void *const *out, void *const *in, uint32_t count);

MCT_INLINE void mct_stream_lay(void *buffers[MCT_STREAMS], uint8_t **at, const struct mct_stream *streams,
                               uint32_t elements) {
    for (uint32_t i = 0; i < MCT_STREAMS; i++) {
        buffers[i] = *at;
        *at += (streams[i].size * elements + 15) / 16 * 16;
    }
}

MCT_INLINE void mct_stream_bring(void *const *to, const struct mct_stream *in, uint32_t at, uint32_t count) {
    for (uint32_t i = 0; i < MCT_STREAMS; i++)
        if (in[i].size)
            mct_dma_in(to[i], (uint8_t *)in[i].memory + at * in[i].size, count * in[i].size);
}

MCT_INLINE void mct_stream_send(void *const *from, const struct mct_stream *out, uint32_t at,
                                uint32_t count) {
    for (uint32_t i = 0; i < MCT_STREAMS; i++)
        if (out[i].size)
            mct_dma_out((uint8_t *)out[i].memory + at * out[i].size, from[i], count * out[i].size);
}

/* Elements [first, last), a multiple of eight but for the end. */
MCT_INLINE void mct_stream_run(const struct mct_stream *out, const struct mct_stream *in, uint32_t first,
                               uint32_t last, uint32_t worker, mct_stream_step compute, const void *context) {
    if (first >= last)
        return;
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < MCT_STREAMS; i++)
        bytes += in[i].size + out[i].size;
    const struct mct_l1 all = mct_l1_all();
    const uint32_t room = all.left / MCT_STREAM_WORKERS / 16 * 16;
    const uint32_t most = (room / 2 - 2 * MCT_STREAMS * 16) / bytes / 8 * 8;
    /* at least four turns, so that little is waited for at the beginning and the end, but no short ones */
    const uint32_t quarter = ((last - first) / 4 + 63) / 64 * 64;
    const uint32_t turn = mct_min(most, quarter);
    void *ins[2][MCT_STREAMS], *outs[2][MCT_STREAMS];
    uint8_t *place = all.at + worker * room;
    for (uint32_t i = 0; i < 2; i++) {
        mct_stream_lay(ins[i], &place, in, turn);
        mct_stream_lay(outs[i], &place, out, turn);
    }
    uint32_t now = 0, group = mct_dma_begin();
    mct_stream_bring(ins[0], in, first, mct_min(turn, last - first));
    for (uint32_t at = first; at < last; at += turn, now ^= 1) {
        const uint32_t count = mct_min(turn, last - at);
        mct_dma_wait(group);
        group = mct_dma_begin();
        if (at + count < last)
            mct_stream_bring(ins[now ^ 1], in, at + count, mct_min(turn, last - at - count));
        if (at > first)
            mct_stream_send(outs[now ^ 1], out, at - turn, turn);
        compute(context, outs[now], ins[now], count);
        if (at + count == last) {
            mct_dma_wait(group);
            group = mct_dma_begin();
            mct_stream_send(outs[now], out, at, count);
        }
    }
    mct_dma_wait(group);
}

/* Below so many elements the way through L1 is not worth while. */
enum { MCT_STREAM_WORTH = 256 };

#endif
