/* A step of stochastic gradient descent on elements [i, last) of a kernel's operands, as sgd.h says it: `d`
 * has w, g, v, hyper, scale and overflow; a weight only moves where `moves` holds for its element i. */
#ifndef MCT_SGD_STEP_H
#define MCT_SGD_STEP_H

#define MCT_SGD_STEP(d, i, last, moves)                                                                      \
    do {                                                                                                     \
        const float rate = (d)->hyper[0], momentum = (d)->hyper[1], decay = (d)->hyper[2];                   \
        const float factor = (d)->hyper[3] / *(d)->scale;                                                    \
        const bool stop = *(d)->overflow != 0;                                                               \
        for (; (i) < (last); (i)++) {                                                                        \
            float step = (d)->g[i] * factor;                                                                 \
            (d)->g[i] = 0.0f;                                                                                \
            if (stop)                                                                                        \
                continue;                                                                                    \
            if (decay != 0.0f)                                                                               \
                step += decay * (d)->w[i];                                                                   \
            if ((d)->v) {                                                                                    \
                step = momentum * (d)->v[i] + step;                                                          \
                (d)->v[i] = step;                                                                            \
            }                                                                                                \
            if (moves)                                                                                       \
                (d)->w[i] -= rate * step;                                                                    \
        }                                                                                                    \
    } while (0)

#endif
