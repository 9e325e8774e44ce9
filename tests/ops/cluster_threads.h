/* kernels/cluster.h for tests: workers are threads, DMA is a copy that is made when it is waited for. */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

enum { MOST_L1 = 64 * 1024, GUARD = 64, MOST_WORKERS = 8, MOST_GROUPS = 8, MOST_TRANSFERS = 4096 };

static _Alignas(16) uint8_t memory[MOST_L1 + GUARD];
static pthread_barrier_t barrier;

/* For the test: usable bytes of L1; transfers started; groups that their worker never waited for, and more.
 */
uint32_t test_l1_size, test_transfers, test_mistakes;

static _Thread_local struct transfer {
    uint8_t *to;
    const uint8_t *from;
    uint32_t bytes, group;
} transfers[MOST_TRANSFERS];
static _Thread_local uint32_t transfer_count, open_groups, current;

uint8_t *mct_l1(void) {
    return memory;
}

uint32_t mct_l1_size(void) {
    return test_l1_size;
}

void mct_barrier(void) {
    pthread_barrier_wait(&barrier);
}

uint32_t mct_dma_begin(void) {
    for (current = 0; open_groups >> current & 1; current++)
        ;
    if (current >= MOST_GROUPS)
        test_mistakes++;
    open_groups |= 1u << current;
    return current;
}

static void start(void *to, const void *from, uint32_t bytes) {
    if (!(open_groups >> current & 1) || transfer_count == MOST_TRANSFERS || bytes > 65535)
        test_mistakes++;
    else
        transfers[transfer_count++] = (struct transfer){to, from, bytes, current};
    test_transfers++;
}

void mct_dma_in(void *l1, const void *from, uint32_t bytes) {
    start(l1, from, bytes);
}

void mct_dma_out(void *to, const void *l1, uint32_t bytes) {
    start(to, l1, bytes);
}

void mct_dma_in_rows(void *l1, const void *from, uint32_t rows, uint32_t row, uint32_t stride) {
    for (uint32_t r = 0; r < rows; r++)
        start((uint8_t *)l1 + r * row, (const uint8_t *)from + r * stride, row);
}

void mct_dma_out_rows(void *to, const void *l1, uint32_t rows, uint32_t row, uint32_t stride) {
    for (uint32_t r = 0; r < rows; r++)
        start((uint8_t *)to + r * stride, (const uint8_t *)l1 + r * row, row);
}

void mct_dma_wait(uint32_t group) {
    uint32_t kept = 0;
    if (!(open_groups >> group & 1))
        test_mistakes++;
    for (uint32_t i = 0; i < transfer_count; i++)
        if (transfers[i].group == group)
            memcpy(transfers[i].to, transfers[i].from, transfers[i].bytes);
        else
            transfers[kept++] = transfers[i];
    transfer_count = kept;
    open_groups &= ~(1u << group);
}

struct share {
    void (*kernel)(const void *, uint32_t, uint32_t);
    const void *args;
    uint32_t worker, workers;
};

static void *run_share(void *argument) {
    struct share *share = argument;
    share->kernel(share->args, share->worker, share->workers);
    test_mistakes += open_groups;
    return NULL;
}

/* Run a kernel on `workers` threads; returns 0 when nothing went wrong with the scratch-pad or the DMA. */
uint32_t test_run(void (*kernel)(const void *, uint32_t, uint32_t), const void *args, uint32_t workers) {
    pthread_t threads[MOST_WORKERS];
    struct share shares[MOST_WORKERS];
    memset(memory, 0xff, sizeof memory);
    test_transfers = test_mistakes = 0;
    pthread_barrier_init(&barrier, NULL, workers);
    for (uint32_t i = 0; i < workers; i++) {
        shares[i] = (struct share){kernel, args, i, workers};
        pthread_create(threads + i, NULL, run_share, shares + i);
    }
    for (uint32_t i = 0; i < workers; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    for (uint32_t i = test_l1_size; i < sizeof memory; i++)
        test_mistakes += memory[i] != 0xff;
    return test_mistakes;
}
