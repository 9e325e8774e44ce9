#include "unlearning_loss.h"
#include "softmax_row.h"

enum {
    MODE_CROSS_ENTROPY,
    MODE_ASCENT,
    MODE_PREFERENCE,
    MODE_HINGE,
    MODE_UNIFORM,
    MODE_DISTILLATION,
    MODE_PROBABILITIES,
    MODES
};

/* One row; `dx` is null where only the loss is wanted. */
struct row {
    const mct_elem *x;
    mct_elem *dx;
    const float *reference;
    uint32_t classes, label;
    float factor; /* of the gradient */
    struct mct_softmax_row softmax;
};

static float shifted(const struct row *r, uint32_t i) {
    return mct_widen(r->x[i]) - r->softmax.largest;
}

static float probability(const struct row *r, uint32_t i) {
    return mct_exp(shifted(r, i)) / r->softmax.sum;
}

static void put(const struct row *r, uint32_t i, float d) {
    r->dx[i] = mct_narrow(r->factor * d);
}

/* The sum of the probabilities of all classes but one. */
static float others(const struct row *r, uint32_t but) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < r->classes; i++)
        if (i != but)
            sum += probability(r, i);
    return sum;
}

/* coefficient * (p - e_label) */
static void put_cross_entropy(const struct row *r, float coefficient) {
    const float rest = others(r, r->label);
    for (uint32_t i = 0; i < r->classes; i++)
        put(r, i, coefficient * (i == r->label ? -rest : probability(r, i)));
}

static float log_of_label(const struct row *r) {
    return shifted(r, r->label) - mct_log(r->softmax.sum);
}

static float preference(const struct row *r, float beta, float log_p0) {
    const float u = beta * (log_of_label(r) - log_p0);
    if (r->dx)
        put_cross_entropy(r, -(2.0f * mct_sigmoid(u)));
    const float tail = mct_log(1.0f + mct_exp(u < 0.0f ? u : -u));
    return 2.0f / beta * ((u < 0.0f ? 0.0f : u) + tail);
}

static uint32_t runner_up(const struct row *r) {
    uint32_t best = r->label;
    for (uint32_t i = 0; i < r->classes; i++)
        if (i != r->label && (best == r->label || mct_widen(r->x[i]) > mct_widen(r->x[best])))
            best = i;
    return best;
}

static float hinge(const struct row *r) {
    const uint32_t y = r->label, v = runner_up(r);
    const float p_y = probability(r, y), p_v = probability(r, v);
    if (r->dx) {
        const float rest_y = others(r, y), rest_v = others(r, v);
        for (uint32_t i = 0; i < r->classes; i++) {
            const float p = probability(r, i);
            put(r, i, p_v * (i == v ? -rest_v : p) - p_y * (i == y ? -rest_y : p));
        }
    }
    return (1.0f + p_y) - p_v;
}

static float uniform(const struct row *r) {
    const float part = 1.0f / (float)r->classes;
    float sum = 0.0f;
    for (uint32_t i = 0; i < r->classes; i++) {
        sum += shifted(r, i);
        if (r->dx)
            put(r, i, probability(r, i) - part);
    }
    return mct_log(r->softmax.sum) - part * sum;
}

static float probabilities(const struct row *r) {
    const float logarithm = mct_log(r->softmax.sum);
    float sum = 0.0f;
    for (uint32_t i = 0; i < r->classes; i++) {
        sum += r->reference[i] * (shifted(r, i) - logarithm);
        if (r->dx)
            put(r, i, probability(r, i) - r->reference[i]);
    }
    return -sum;
}

struct heated {
    float largest, sum, logarithm;
};

/* The normaliser of softmax(x / temperature), x from `at`. */
static struct heated heat(float (*at)(const struct row *, uint32_t), const struct row *r, float temperature) {
    struct heated h = {at(r, 0) / temperature, 0.0f, 0.0f};
    for (uint32_t i = 1; i < r->classes; i++) {
        const float v = at(r, i) / temperature;
        h.largest = v > h.largest ? v : h.largest;
    }
    for (uint32_t i = 0; i < r->classes; i++)
        h.sum += mct_exp(at(r, i) / temperature - h.largest);
    h.logarithm = mct_log(h.sum);
    return h;
}

static float score(const struct row *r, uint32_t i) {
    return mct_widen(r->x[i]);
}

static float reference_score(const struct row *r, uint32_t i) {
    return r->reference[i];
}

static float distillation(const struct row *r, float temperature) {
    const struct heated mine = heat(score, r, temperature), wanted = heat(reference_score, r, temperature);
    float sum = 0.0f;
    for (uint32_t i = 0; i < r->classes; i++) {
        const float z = score(r, i) / temperature - mine.largest;
        const float w = reference_score(r, i) / temperature - wanted.largest;
        const float p = mct_exp(z) / mine.sum, q = mct_exp(w) / wanted.sum;
        sum += q * ((w - wanted.logarithm) - (z - mine.logarithm));
        if (r->dx)
            put(r, i, temperature * (p - q));
    }
    return temperature * temperature * sum;
}

static float loss_of_row(struct row *r, const float *choice) {
    const float mode = choice[0];
    if (mode == MODE_DISTILLATION)
        return distillation(r, choice[4]);
    if (mode <= MODE_HINGE && r->label >= r->classes) {
        if (r->dx)
            memset(r->dx, 0, r->classes * sizeof *r->dx);
        return 0.0f;
    }
    r->softmax = mct_softmax_of_row(r->x, r->classes, 1);
    if (mode == MODE_UNIFORM)
        return uniform(r);
    if (mode == MODE_PROBABILITIES)
        return probabilities(r);
    if (mode == MODE_HINGE)
        return hinge(r);
    if (mode == MODE_PREFERENCE)
        return preference(r, choice[2], choice[3]);
    if (r->dx)
        put_cross_entropy(r, mode == MODE_ASCENT ? -1.0f : 1.0f);
    return mode == MODE_ASCENT ? log_of_label(r) : -log_of_label(r);
}

/* Worker 0 sums the losses of all rows; gradients are shared out by rows. */
void MCT_KERNEL(unlearning_loss)(const void *args, uint32_t worker, uint32_t workers) {
    const struct mct_unlearning_loss *d = args;
    const uint32_t classes = d->classes;
    const float mode = d->choice[0];
    bool known = false;
    for (uint32_t i = 0; i < MODES; i++)
        known |= mode == (float)i;
    const float factor = *d->scale / (float)d->rows * d->choice[1];
    uint32_t first, last;
    mct_split(d->rows, worker, workers, &first, &last);
    if (!known) {
        if (worker == 0)
            *d->loss = __builtin_nanf("");
        memset((mct_elem *)d->dlogits + first * classes, 0, (last - first) * classes * sizeof(mct_elem));
        return;
    }
    float sum = 0.0f;
    for (uint32_t row = worker == 0 ? 0 : first; row < (worker == 0 ? d->rows : last); row++) {
        const bool mine = row >= first && row < last;
        struct row r = {
            .x = (const mct_elem *)d->logits + row * classes,
            .dx = mine ? (mct_elem *)d->dlogits + row * classes : NULL,
            .reference = d->reference + row * classes,
            .classes = classes,
            .label = (uint32_t)d->label[row],
            .factor = factor,
        };
        sum += loss_of_row(&r, d->choice);
    }
    if (worker == 0)
        *d->loss = mct_canonical(sum / (float)d->rows);
}
