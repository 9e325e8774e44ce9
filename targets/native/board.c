/* The firmware as a process of the host: the link is the descriptor named by the environment variable
 * MCUTRAIN_LINK (a socket or a terminal), or standard input and output; workers are threads. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "link.h"
#include "mct_model.h"
#include "profile.h"
#include "work.h"

enum { MOST_WORKERS = 8, LINK_LOST = 3, NO_THREADS = 4 };

/* ---- workers ---------------------------------------------------------------------------------------- */

/* Thread t of n runs workers t, t + n, t + 2n …; the caller of mct_team_run is thread 0. No more threads
 * than cores: the result does not depend on it, and idle threads sleep. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t start, finish;
    uint32_t threads, generation, running;
    mct_kernel kernel;
    const void *args;
} team = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .start = PTHREAD_COND_INITIALIZER, .finish = PTHREAD_COND_INITIALIZER};

static void run_share(uint32_t thread, mct_kernel kernel, const void *args) {
    for (uint32_t worker = thread; worker < mct_active_workers; worker += team.threads) {
        uint32_t begin = mct_profile_counts ? mct_profile_clock() : 0;
        kernel(args, worker, mct_active_workers);
        if (mct_profile_counts) {
            uint32_t *counts = mct_profile_counts + worker * mct_profile_board.count;
            counts[0] = begin;
            counts[1] = mct_profile_clock();
        }
    }
}

static void *thread_main(void *argument) {
    uint32_t thread = (uint32_t)(uintptr_t)argument, seen = 0;
    pthread_mutex_lock(&team.lock);
    for (;;) {
        while (team.generation == seen)
            pthread_cond_wait(&team.start, &team.lock);
        seen = team.generation;
        mct_kernel kernel = team.kernel;
        const void *args = team.args;
        pthread_mutex_unlock(&team.lock);
        run_share(thread, kernel, args);
        pthread_mutex_lock(&team.lock);
        if (--team.running == 0)
            pthread_cond_signal(&team.finish);
    }
    return NULL;
}

void mct_team_run(mct_kernel kernel, const void *args) {
    if (team.threads > 1) {
        pthread_mutex_lock(&team.lock);
        team.kernel = kernel;
        team.args = args;
        team.running = team.threads - 1;
        team.generation++;
        pthread_cond_broadcast(&team.start);
        pthread_mutex_unlock(&team.lock);
    }
    run_share(0, kernel, args);
    if (team.threads > 1) {
        pthread_mutex_lock(&team.lock);
        while (team.running)
            pthread_cond_wait(&team.finish, &team.lock);
        pthread_mutex_unlock(&team.lock);
    }
}

static void start_team(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t most = mct_workers < MOST_WORKERS ? mct_workers : MOST_WORKERS;
    team.threads = cores < 1 ? 1 : cores < (long)most ? (uint32_t)cores : most;
    for (uint32_t thread = 1; thread < team.threads; thread++) {
        pthread_t handle;
        int error = pthread_create(&handle, NULL, thread_main, (void *)(uintptr_t)thread);
        if (error) {
            fprintf(stderr, "firmware: cannot start a thread: error %d\n", error);
            exit(NO_THREADS);
        }
        pthread_detach(handle);
    }
}

/* ---- link ------------------------------------------------------------------------------------------- */

static int input = STDIN_FILENO, output = STDOUT_FILENO;

_Noreturn static void link_lost(const char *why) {
    fprintf(stderr, "firmware: %s\n", why);
    _exit(LINK_LOST);
}

bool mct_link_read(uint8_t *bytes, uint32_t count, uint32_t timeout) {
    while (count) {
        struct pollfd wait = {.fd = input, .events = POLLIN};
        int ready = timeout == MCT_FOREVER ? 1 : poll(&wait, 1, (int)timeout);
        if (ready == 0)
            return false;
        ssize_t got = ready < 0 ? -1 : read(input, bytes, count);
        if (got == 0)
            link_lost("the host closed the link");
        if (got < 0 && errno != EINTR)
            link_lost("reading from the link failed");
        if (got > 0) {
            bytes += got;
            count -= (uint32_t)got;
        }
    }
    return true;
}

void mct_link_write(const uint8_t *bytes, uint32_t count) {
    while (count) {
        ssize_t put = write(output, bytes, count);
        if (put < 0 && errno != EINTR)
            link_lost("writing to the link failed");
        if (put > 0) {
            bytes += put;
            count -= (uint32_t)put;
        }
    }
}

/* ---- clock, start, end ------------------------------------------------------------------------------ */

const uint32_t mct_ticks_per_second = 1000000;

uint32_t mct_ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

/* Nanoseconds. */
const struct mct_profile_board mct_profile_board = {1000000000, 2, {MCT_COUNT_BEGIN, MCT_COUNT_END}};

uint32_t mct_profile_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

uint32_t *mct_profile_memory(uint32_t *bytes) {
    static uint32_t log[1 << 16];
    *bytes = sizeof log;
    return log;
}

/* Microseconds that processors have worked for this process: others on the machine don't count. */
uint32_t mct_work_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

uint32_t mct_work_rate(void) {
    return 1000000;
}

void mct_board_start(void) {
    const char *link = getenv("MCUTRAIN_LINK");
    if (link)
        input = output = atoi(link);
    signal(SIGPIPE, SIG_IGN);
    start_team();
}

void mct_board_end(void) {
    _exit(0);
}
